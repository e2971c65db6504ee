// `qx score`: log-likelihoods of request lines, for other harnesses.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <istream>
#include <string>
#include <string_view>

#include "eval/pair_encoding.h"
#include "eval/scorer.h"
#include "io/json.h"
#include "model/model.h"

namespace qx {

// One line: {"context","continuation"} (strings, lm-eval's pair rule) or {"context_ids",
// "continuation_ids"}. place: "file:line". Fails: Error; ids must lie in [0, vocab_size).
EncodedPair parse_score_request(std::string_view line, const PairEncoder& encoder,
                                std::int64_t vocab_size, std::string_view place);

// {"ll": double, "tokens": n, "greedy": bool}
Json score_json(const PairScore& score);

// Reads requests until the end of `in` and gives their scores in order. Holds one window of requests in
// memory. Returns how many contexts were cut to fit. Fails: Error naming `file` and line.
std::int64_t score_stream(std::istream& in, const std::string& file, Model& model,
                          const Tokenizer& tokenizer,
                          const std::function<void(const PairScore&)>& on_score);

}  // namespace qx
