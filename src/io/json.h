// JSON in and out with limits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace qx {

// Objects keep the order of their keys. Looking a key up scans the object, so large maps (a
// vocabulary) are to be iterated, not indexed.
using Json = nlohmann::ordered_json;

// Appends a member without looking for an equal key, which the caller rules out.
void append_member(Json& object, std::string key, Json value);

bool is_valid_utf8(std::string_view text);

// Levels of nesting that are read.
inline constexpr std::size_t kMaxJsonDepth = 200;

// Parses UTF-8 text. Rejects invalid UTF-8, nesting deeper than kMaxJsonDepth, a key that occurs twice in
// one object, bare NaN and Infinity, and trailing characters.
// Fails: Error whose place is `origin` and which gives the byte offset.
Json parse_json(std::string_view text, std::string_view origin);

// Fails: Error when missing, larger than max_bytes, or not JSON.
Json read_json_file(const std::filesystem::path& path,
                    std::size_t max_bytes = std::size_t{256} << 20);

// A member; null when there is none, or `object` is no object: where null and absent mean the same.
// Refers into `object`, or to a null that lives as long as the program.
const Json& json_member(const Json& object, std::string_view key);

// Typed member access; json_number also takes {"__float__": "Infinity"} as transformers writes it.
// Fails: Error "[origin] key 'x': got string, expected integer".
std::int64_t json_int(const Json& object, std::string_view key, std::string_view origin);
double json_number(const Json& object, std::string_view key, std::string_view origin);
bool json_bool(const Json& object, std::string_view key, std::string_view origin);
std::string json_string(const Json& object, std::string_view key, std::string_view origin);
// Null and absent mean the same: the default.
std::int64_t json_int_or(const Json&, std::string_view key, std::int64_t fallback,
                         std::string_view origin);
double json_number_or(const Json&, std::string_view key, double fallback, std::string_view origin);
bool json_bool_or(const Json&, std::string_view key, bool fallback, std::string_view origin);
std::string json_string_or(const Json&, std::string_view key, std::string_view fallback,
                           std::string_view origin);

// The number, or null where it is NaN or infinite, which JSON does not have.
Json json_of_number(double x);

// As Python's json.dumps(value, indent=4, sort_keys=sorted): what MLX writes, non-ASCII escaped
// when ascii. No trailing newline. Floats print as Python's repr does. A negative indent puts
// all on one line, with ', ' and ': ' as separators.
std::string dump_json(const Json& value, int indent, bool sorted, bool ascii);

}  // namespace qx
