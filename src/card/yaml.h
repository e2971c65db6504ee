// The front matter of a card: YAML in and out, as JSON, with limits. The parser and the emitter are
// yaml-cpp's.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "io/json.h"

namespace qx {

struct YamlDocument {
  Json value;
  std::map<std::string, std::size_t> lines;  // of each value, by JSON pointer ("/a/0/b"); 1-based
};

constexpr std::size_t kMaxYamlBytes = std::size_t{1} << 20;
constexpr int kMaxYamlDepth = 32;
constexpr std::size_t kMaxYamlValues = 20'000;

// One document. Plain scalars are read by YAML 1.2's core schema (null, true, false, numbers; all
// else is text). first_line: of the text within its file, for messages and lines.
// Fails: Error "[file:line] ..": not UTF-8, larger than the limits above, not YAML, anchors and
// aliases (a few lines of which expand to gigabytes), a key that is no scalar or occurs twice,
// several documents.
YamlDocument parse_yaml(std::string_view text, const std::string& file, std::size_t first_line);

// Block style, keys in their order, a line feed at the end. Text that a YAML 1.1 reader (Python's)
// would take for something else, such as the language `no`, is quoted. value: an object; no NaN in
// it.
std::string yaml_text(const Json& value);

}  // namespace qx
