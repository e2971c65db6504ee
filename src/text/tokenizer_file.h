// Reads the JSON of tokenizer.json; knows its two large members, not what the components mean.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/json.h"

namespace qx {

struct TokenizerFile {
  Json root;  // everything but model.vocab and model.merges when these are an object and an array
  std::vector<std::pair<std::string, std::int64_t>> vocab;  // in the order of the file
  std::vector<std::pair<std::string, std::string>> merges;  // likewise: the first has priority
};

// Linear in the text: the vocabulary never becomes a Json object, whose keys are searched one by one.
// Fails: Error whose place is `origin`: not JSON, invalid UTF-8, nesting over 100, an object other than the
// vocabulary with over 4096 or with repeated keys, ids that are no integers, merges that are no pairs.
TokenizerFile parse_tokenizer_file(std::string_view text, std::string_view origin);

}  // namespace qx
