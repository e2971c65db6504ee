// Which tokens of a model end its texts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "arch/model_config.h"
#include "text/tokenizer.h"

namespace qx {

// Those of the config files, and the tokenizer's end of text. Rising, each once.
std::vector<TokenId> end_tokens(const ModelConfig& config, const Tokenizer& tokenizer);

// What mlx_lm.generate gives to XTC as the tokens that it never drops: a line feed's and
// end_tokens(), as far as the model has them.
std::vector<TokenId> xtc_kept_tokens(const ModelConfig& config, const Tokenizer& tokenizer);

}  // namespace qx
