// The forward pass written down as plainly as possible, in double, one token after the other over
// the whole sequence: what the tests compare the real one with. Slow; shares only weights and
// angles.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "model/weights.h"
#include "text/tokenizer.h"

namespace qx {

// Logits after every token: [tokens, vocab_size]. Ids must be in range.
std::vector<std::vector<double>> reference_forward(const ModelWeights& weights,
                                                   std::span<const TokenId> tokens);

}  // namespace qx
