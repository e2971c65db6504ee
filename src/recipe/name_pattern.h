// Names with placeholders: "qx{H}{L}" and "-hi" against "qx63-hi".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace qx {

struct NameMatch {
  std::map<std::string, int> values;  // H -> 6, L -> 3; every placeholder is one digit
  std::string suffix;                 // "-hi", or empty
};

// Nothing when the text has another form. A '{' without '}' is an ordinary character.
std::optional<NameMatch> match_name(std::string_view pattern,
                                    const std::vector<std::string>& suffixes,
                                    std::string_view text);

// The placeholders of a pattern, in order: {"H", "L"}.
std::vector<std::string> placeholders(std::string_view pattern);

}  // namespace qx
