// A model's own text, to calibrate with where no other is at hand.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace qx {

struct SampleRules {
  std::int64_t windows = 128, ctx = 512;
  std::uint64_t seed = 1;
};

// Windows of ctx tokens, drawn at temperature 1 without any filter. The even ones begin with BOS (else
// EOS), and after an EOS with it again. The odd ones, of a model with a chat template, are
// conversations: the model writes the user's message too, and after the answer the next conversation
// begins. The tokens depend on model and rules alone.
// Fails: Error when the tokenizer has neither BOS nor EOS.
std::vector<std::vector<TokenId>> sample_windows(
    Model& model, const Tokenizer& tokenizer, const ChatTemplate* chat, const SampleRules& rules,
    const std::function<void(std::int64_t tokens)>& progress);

}  // namespace qx
