// Scores token pairs with a model. Pairs that begin with the same tokens share the forward pass of
// those tokens, equal pairs are computed once, and many pairs go into one pass. None of this
// changes a score: see Model's determinism.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "eval/pair_encoding.h"
#include "model/model.h"

namespace qx {

struct ScoreRequest {
  EncodedPair pair;
  std::int64_t group = 0;  // requests of one item; within a group every common token is shared
};

struct PairScore {
  double ll = 0;            // sum over the continuation, in order, in double
  std::int64_t tokens = 0;  // of the continuation
  bool greedy = false;      // every token is the first of the largest logits
};

struct PassRules {
  std::int64_t tokens = 1024;   // of one forward pass, at most; longer contexts take several passes
  std::int64_t min_shared = 8;  // common tokens that are worth a split between different groups
};

struct TokenCounts {
  std::int64_t unshared = 0;  // if every pair were run alone
  std::int64_t forward = 0;   // as planned
  std::int64_t scored = 0;
};

TokenCounts count_tokens(std::span<const ScoreRequest> requests, const PassRules& rules);

// Calls on_score once per request, in the order they become known; within one call of score_pairs
// this order depends on the requests only. Fails: Error when a score is not a number.
void score_pairs(Model& model, std::span<const ScoreRequest> requests, const PassRules& rules,
                 const std::function<void(std::size_t request, const PairScore&)>& on_score);

// The same, and calls on_token once per scored token; position counts within the continuation. Within a
// request positions come in no promised order, all of them before its on_score. Dropped pairs have none.
using OnToken =
    std::function<void(std::size_t request, std::size_t position, const TokenScore& score)>;
void score_pairs(Model& model, std::span<const ScoreRequest> requests, const PassRules& rules,
                 const std::function<void(std::size_t request, const PairScore&)>& on_score,
                 const OnToken& on_token);

}  // namespace qx
