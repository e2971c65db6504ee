// SPDX-License-Identifier: Apache-2.0
#include "recipe/name_pattern.h"

namespace qx {
namespace {

// The placeholder that starts at `at`, or nothing.
std::optional<std::string> placeholder_at(std::string_view pattern, std::size_t at) {
  if (pattern[at] != '{') return std::nullopt;
  const std::size_t end = pattern.find('}', at);
  if (end == std::string_view::npos) return std::nullopt;
  return std::string(pattern.substr(at + 1, end - at - 1));
}

}  // namespace

std::optional<NameMatch> match_name(std::string_view pattern,
                                    const std::vector<std::string>& suffixes,
                                    std::string_view text) {
  NameMatch match;
  std::size_t at = 0;
  for (std::size_t p = 0; p < pattern.size();) {
    if (at >= text.size()) return std::nullopt;
    if (const auto name = placeholder_at(pattern, p)) {
      if (text[at] < '0' || text[at] > '9') return std::nullopt;
      match.values[*name] = text[at] - '0';
      p += name->size() + 2;
    } else if (pattern[p] == text[at]) {
      ++p;
    } else {
      return std::nullopt;
    }
    ++at;
  }
  match.suffix = text.substr(at);
  if (match.suffix.empty()) return match;
  for (const std::string& suffix : suffixes) {
    if (suffix == match.suffix) return match;
  }
  return std::nullopt;
}

std::vector<std::string> placeholders(std::string_view pattern) {
  std::vector<std::string> names;
  for (std::size_t p = 0; p < pattern.size(); ++p) {
    if (const auto name = placeholder_at(pattern, p)) names.push_back(*name);
  }
  return names;
}

}  // namespace qx
