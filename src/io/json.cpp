// SPDX-License-Identifier: Apache-2.0
#include "io/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"

namespace qx {
namespace {

// Builds values on an explicit stack. nlohmann's own builder looks every new key up by scanning the
// object, which takes minutes for a vocabulary of 150,000 entries; here a hash set per object does
// it.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view text, std::string_view origin) : text_(text), origin_(origin) {}

  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(std::int64_t value) override { return add(value); }
  bool number_unsigned(std::uint64_t value) override { return add(value); }
  bool number_float(double value, const std::string&) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    Frame& frame = stack_.back();
    if (!frame.keys.insert(name).second) {
      fail(origin_, "key '{}' appears twice in one object, expected each key once", name);
    }
    frame.key = std::move(name);
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) override {
    const std::size_t at = position == 0 ? 0 : position - 1;
    const std::string_view rest = text_.substr(std::min(at, text_.size()));
    for (const std::string_view literal : {"NaN", "Infinity"}) {
      if (rest.starts_with(literal)) {
        fail(origin_, "byte {}: got {}, which JSON does not allow, expected a finite number", at,
             literal);
      }
    }
    std::string reason = error.what();
    const std::size_t colon = reason.find(": ");
    if (colon != std::string::npos) reason.erase(0, colon + 2);
    if (text_.empty()) reason = "got nothing, expected a JSON value";
    fail(place_of(at), "not valid JSON at byte {}: {}", at, reason.substr(0, 300));
  }

 private:
  struct Frame {
    Json value;
    std::string key;
    std::unordered_set<std::string> keys;
  };

  // With the line, where there are several.
  std::string place_of(std::size_t at) const {
    if (text_.find('\n') == std::string_view::npos) return std::string(origin_);
    const std::string_view before = text_.substr(0, std::min(at, text_.size()));
    return fmt::format("{}:{}", origin_, 1 + std::count(before.begin(), before.end(), '\n'));
  }

  bool open(Json container) {
    if (stack_.size() >= kMaxJsonDepth) {
      fail(origin_, "nested deeper than {} levels, expected fewer", kMaxJsonDepth);
    }
    stack_.push_back({std::move(container), {}, {}});
    return true;
  }

  bool close() {
    Json value = std::move(stack_.back().value);
    stack_.pop_back();
    return add(std::move(value));
  }

  bool add(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return true;
    }
    Frame& frame = stack_.back();
    if (frame.value.is_array()) {
      frame.value.get_ref<Json::array_t&>().push_back(std::move(value));
    } else {
      append_member(frame.value, std::move(frame.key), std::move(value));
    }
    return true;
  }

  std::string_view text_, origin_;
  std::vector<Frame> stack_;
  Json root_;
};

const Json* member(const Json& object, std::string_view key, std::string_view origin) {
  if (!object.is_object()) fail(origin, "got {}, expected an object", object.type_name());
  const auto found = object.find(std::string(key));
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

const Json& required(const Json& object, std::string_view key, std::string_view origin) {
  const Json* value = member(object, key, origin);
  if (value == nullptr) fail(origin, "key '{}' is missing", key);
  return *value;
}

[[noreturn]] void wrong_type(const Json& value, std::string_view key, std::string_view expected,
                             std::string_view origin) {
  std::string shown =
      value.is_structured() ? "" : " " + value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (shown.size() > 60) shown = shown.substr(0, 60) + "..";
  fail(origin, "key '{}': got {}{}, expected {}", key, value.type_name(), shown, expected);
}

std::int64_t as_int(const Json& value, std::string_view key, std::string_view origin) {
  const bool fits =
      !value.is_number_unsigned() ||
      value.get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<std::int64_t>::max()};
  if (!value.is_number_integer() || !fits) wrong_type(value, key, "integer", origin);
  return value.get<std::int64_t>();
}

double as_number(const Json& value, std::string_view key, std::string_view origin) {
  if (value.is_number()) return value.get<double>();
  // Python programs that avoid bare Infinity write it as {"__float__": "Infinity"}.
  if (value.is_object() && value.size() == 1 && value.contains("__float__")) {
    const Json& text = value["__float__"];
    if (text == "Infinity") return std::numeric_limits<double>::infinity();
    if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
    if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  }
  wrong_type(value, key, "number", origin);
}

bool as_bool(const Json& value, std::string_view key, std::string_view origin) {
  if (!value.is_boolean()) wrong_type(value, key, "true or false", origin);
  return value.get<bool>();
}

std::string as_string(const Json& value, std::string_view key, std::string_view origin) {
  if (!value.is_string()) wrong_type(value, key, "string", origin);
  return value.get<std::string>();
}

// Python's repr: shortest digits that read back as the same double; fixed notation for decimal
// exponents in [-4, 16).
void append_double(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += R"({"__float__": ")";
    out += std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
    out += "\"}";
    return;
  }
  char buffer[40];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  std::string_view text(buffer, static_cast<std::size_t>(end.ptr - buffer));
  if (text.front() == '-') {
    out += '-';
    text.remove_prefix(1);
  }
  const std::size_t e = text.find('e');
  std::string digits(text.substr(0, e));
  std::erase(digits, '.');
  const int exponent = std::stoi(std::string(text.substr(e + 1)));
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (count > 1) out += "." + digits.substr(1);
    out += fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  } else if (exponent < 0) {
    out += "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  } else if (count <= exponent + 1) {
    out += digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + ".0";
  } else {
    const auto split = static_cast<std::size_t>(exponent + 1);
    out += digits.substr(0, split) + "." + digits.substr(split);
  }
}

// One code point of valid UTF-8; advances i.
std::uint32_t next_code_point(std::string_view text, std::size_t& i) {
  const auto byte = [&](std::size_t k) {
    return k < text.size() ? static_cast<std::uint32_t>(static_cast<unsigned char>(text[k])) : 0u;
  };
  const std::uint32_t first = byte(i);
  const std::size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  std::uint32_t code = length == 1 ? first : first & (0x7Fu >> length);
  for (std::size_t k = 1; k < length; ++k) code = code << 6 | (byte(i + k) & 0x3Fu);
  i += length;
  return code;
}

void append_string(std::string& out, std::string_view text, bool ascii) {
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    const std::size_t named = std::string_view("\"\\\b\f\n\r\t").find(text[i]);
    if (named != std::string_view::npos) {
      out += '\\';
      out += "\"\\bfnrt"[named];
      ++i;
    } else if (c < 0x20 || (ascii && c == 0x7F)) {
      out += fmt::format("\\u{:04x}", c);
      ++i;
    } else if (c < 0x80 || !ascii) {
      out += text[i++];
    } else {
      const std::uint32_t code = next_code_point(text, i);
      if (code < 0x10000) {
        out += fmt::format("\\u{:04x}", code);
      } else {
        out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((code - 0x10000) >> 10),
                           0xDC00 + ((code - 0x10000) & 0x3FF));
      }
    }
  }
  out += '"';
}

struct DumpStyle {
  int indent;
  bool sorted, ascii;
};

void append_value(std::string& out, const Json& value, const DumpStyle& style, int level);

void append_break(std::string& out, const DumpStyle& style, int level) {
  if (style.indent < 0) return;
  out += '\n';
  out.append(static_cast<std::size_t>(style.indent * level), ' ');
}

void append_object(std::string& out, const Json& value, const DumpStyle& style, int level) {
  std::vector<const Json::object_t::value_type*> members;
  for (const auto& m : value.get_ref<const Json::object_t&>()) members.push_back(&m);
  if (style.sorted) {
    std::sort(members.begin(), members.end(),
              [](const auto* a, const auto* b) { return a->first < b->first; });
  }
  out += '{';
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (i > 0) out += style.indent < 0 ? ", " : ",";
    append_break(out, style, level + 1);
    append_string(out, members[i]->first, style.ascii);
    out += ": ";
    append_value(out, members[i]->second, style, level + 1);
  }
  if (!members.empty()) append_break(out, style, level);
  out += '}';
}

void append_array(std::string& out, const Json& value, const DumpStyle& style, int level) {
  out += '[';
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (i > 0) out += style.indent < 0 ? ", " : ",";
    append_break(out, style, level + 1);
    append_value(out, value[i], style, level + 1);
  }
  if (!value.empty()) append_break(out, style, level);
  out += ']';
}

void append_value(std::string& out, const Json& value, const DumpStyle& style, int level) {
  switch (value.type()) {
    case Json::value_t::object:
      return append_object(out, value, style, level);
    case Json::value_t::array:
      return append_array(out, value, style, level);
    case Json::value_t::string:
      return append_string(out, value.get_ref<const std::string&>(), style.ascii);
    case Json::value_t::number_float:
      return append_double(out, value.get<double>());
    default:
      out += value.dump();  // null, booleans and integers print as in Python
  }
}

// Length of the well-formed sequence at the start of text (Unicode, table 3-7), or 0.
std::size_t utf8_length(std::string_view text) {
  const auto in = [&](std::size_t i, unsigned low, unsigned high) {
    const unsigned byte = i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
    return byte >= low && byte <= high;
  };
  if (in(0, 0x00, 0x7F)) return 1;
  if (in(0, 0xC2, 0xDF)) return in(1, 0x80, 0xBF) ? 2 : 0;
  if (in(0, 0xE0, 0xEF)) {
    const unsigned low = in(0, 0xE0, 0xE0) ? 0xA0 : 0x80, high = in(0, 0xED, 0xED) ? 0x9F : 0xBF;
    return in(1, low, high) && in(2, 0x80, 0xBF) ? 3 : 0;
  }
  if (in(0, 0xF0, 0xF4)) {
    const unsigned low = in(0, 0xF0, 0xF0) ? 0x90 : 0x80, high = in(0, 0xF4, 0xF4) ? 0x8F : 0xBF;
    return in(1, low, high) && in(2, 0x80, 0xBF) && in(3, 0x80, 0xBF) ? 4 : 0;
  }
  return 0;
}

}  // namespace

void append_member(Json& object, std::string key, Json value) {
  using Members = std::vector<Json::object_t::value_type>;
  static_cast<Members&>(object.get_ref<Json::object_t&>())
      .emplace_back(std::move(key), std::move(value));
}

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

Json parse_json(std::string_view text, std::string_view origin) {
  // The parser takes a NUL for the end of the text and would ignore what follows.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    fail(origin, "not valid JSON at byte {}: got a NUL byte", nul);
  }
  Builder builder(text, origin);
  Json::sax_parse(text, &builder);
  return builder.take();
}

Json read_json_file(const std::filesystem::path& path, std::size_t max_bytes) {
  const MappedFile file(path);
  if (file.bytes().size() > max_bytes) {
    fail(path.string(), "got {} bytes, expected at most {}", file.bytes().size(), max_bytes);
  }
  return parse_json(file.text(), path.string());
}

const Json& json_member(const Json& object, std::string_view key) {
  static const Json null;
  if (!object.is_object()) return null;
  const auto found = object.find(std::string(key));
  return found == object.end() ? null : *found;
}

std::int64_t json_int(const Json& object, std::string_view key, std::string_view origin) {
  return as_int(required(object, key, origin), key, origin);
}
double json_number(const Json& object, std::string_view key, std::string_view origin) {
  return as_number(required(object, key, origin), key, origin);
}
bool json_bool(const Json& object, std::string_view key, std::string_view origin) {
  return as_bool(required(object, key, origin), key, origin);
}
std::string json_string(const Json& object, std::string_view key, std::string_view origin) {
  return as_string(required(object, key, origin), key, origin);
}

std::int64_t json_int_or(const Json& object, std::string_view key, std::int64_t fallback,
                         std::string_view origin) {
  const Json* value = member(object, key, origin);
  return value == nullptr ? fallback : as_int(*value, key, origin);
}
double json_number_or(const Json& object, std::string_view key, double fallback,
                      std::string_view origin) {
  const Json* value = member(object, key, origin);
  return value == nullptr ? fallback : as_number(*value, key, origin);
}
bool json_bool_or(const Json& object, std::string_view key, bool fallback,
                  std::string_view origin) {
  const Json* value = member(object, key, origin);
  return value == nullptr ? fallback : as_bool(*value, key, origin);
}
std::string json_string_or(const Json& object, std::string_view key, std::string_view fallback,
                           std::string_view origin) {
  const Json* value = member(object, key, origin);
  return value == nullptr ? std::string(fallback) : as_string(*value, key, origin);
}

Json json_of_number(double x) {
  return std::isfinite(x) ? Json(x) : Json(nullptr);
}

std::string dump_json(const Json& value, int indent, bool sorted, bool ascii) {
  std::string out;
  append_value(out, value, {indent, sorted, ascii}, 0);
  return out;
}

}  // namespace qx
