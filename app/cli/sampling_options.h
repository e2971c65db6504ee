// Options of the verbs that write text: how tokens are drawn, and where the text ends.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "arch/model_config.h"
#include "generate/sampler.h"
#include "io/json.h"
#include "text/tokenizer.h"

namespace qx::cli {

struct SamplingOptions {
  SamplerOptions sampler;               // as far as the command line alone says
  std::vector<std::string> logit_bias;  // "TOKEN=NUMBER"
  std::vector<std::string> extra_eos, stop_texts;
};
// --temp .. --seed, --logit-bias, --extra-eos-token, --stop
void add_sampling_options(CLI::App& verb, SamplingOptions& options);

// With what only the model can say: the tokens of --logit-bias, and those that XTC never drops, as in
// mlx-lm: a line feed and the end of the text. Fails: UsageError.
SamplerOptions resolve_sampling(const SamplingOptions& options, const ModelConfig& config,
                                const Tokenizer& tokenizer);
// The model's end tokens and --extra-eos-token's. Fails: UsageError.
std::vector<TokenId> stop_tokens(const SamplingOptions& options, const ModelConfig& config,
                                 const Tokenizer& tokenizer);

// What --chat-template-config says, and enable_thinking as mlx-lm sets it. Fails: UsageError.
Json template_variables(const std::string& config, const Tokenizer& tokenizer);

}  // namespace qx::cli
