// JSON that people write by hand: values together with the lines they stand on, for messages.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "io/json.h"

namespace qx {

struct LocatedJson {
  Json value;
  // 1-based line of every value by its path: "" the whole, "gold.index" a member (the line of its key),
  // "choices[2]" an element.
  std::map<std::string, std::int64_t, std::less<>> lines;
};

// parse_json with lines. Fails: Error with the place "origin:line" for what is no JSON.
LocatedJson parse_located_json(std::string_view text, std::string_view origin);

}  // namespace qx
