// Reads the JSON of tokenizer.json; knows its two large members, not what the components mean.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/json.h"

namespace qx {

struct TokenizerFile {
  Json root;  // everything but model.vocab and model.merges when these are an object and an array
  std::vector<std::pair<std::string_view, std::int64_t>> vocab;  // in the order of the file
  std::vector<std::pair<std::string_view, std::string_view>>
      merges;                     // likewise: the first has priority
  std::deque<std::string> owned;  // the texts above that are not in the file as they are
};

// Linear in the text, which must outlive the result: the texts of vocabulary and merges point into
// it wherever they have no escapes. Fails: Error whose place is `origin`: not JSON, invalid UTF-8, nesting
// over 100, an object other than the vocabulary with over 4096 or with repeated keys, ids that are no
// integers, merges that are no pairs.
TokenizerFile parse_tokenizer_file(std::string_view text, std::string_view origin);

// The same by a general JSON parser alone, about four times slower. Gives the errors, and the tests
// something to compare with.
TokenizerFile parse_tokenizer_file_slowly(std::string_view text, std::string_view origin);

}  // namespace qx
