// SPDX-License-Identifier: Apache-2.0
#include "generate/end_tokens.h"

#include <algorithm>

namespace qx {

std::vector<TokenId> end_tokens(const ModelConfig& config, const Tokenizer& tokenizer) {
  std::vector<TokenId> stop(config.eos_token_ids.begin(), config.eos_token_ids.end());
  if (const auto eos = tokenizer.eos_id()) stop.push_back(*eos);
  std::sort(stop.begin(), stop.end());
  stop.erase(std::unique(stop.begin(), stop.end()), stop.end());
  return stop;
}

std::vector<TokenId> xtc_kept_tokens(const ModelConfig& config, const Tokenizer& tokenizer) {
  std::vector<TokenId> kept = tokenizer.encode("\n", SpecialTokens::kAdd);
  const std::vector<TokenId> ends = end_tokens(config, tokenizer);
  kept.insert(kept.end(), ends.begin(), ends.end());
  std::erase_if(kept, [&](TokenId id) { return id < 0 || id >= config.vocab_size; });
  return kept;
}

}  // namespace qx
