// A prompt as it is typed, for verbs that read one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace qx::cli {

// mlx-lm's reading of -p: "\n" and "\t" typed as two characters are meant as one; "-" is stdin.
std::string read_prompt(const std::string& option);

// Without a chat template: with the tokens that the tokenizer adds, unless the text begins with the
// first.
std::vector<TokenId> encode_bare(const std::string& prompt, const Tokenizer& tokenizer);

}  // namespace qx::cli
