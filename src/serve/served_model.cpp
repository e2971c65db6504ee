// SPDX-License-Identifier: Apache-2.0
#include "serve/served_model.h"

#include <algorithm>

#include "generate/end_tokens.h"

namespace qx {
namespace {

// As mlx_lm.server gives it to make_sampler: the newline's tokens and the end of text.
std::vector<TokenId> exempt(const std::vector<TokenId>& stop, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids = tokenizer.encode("\n", SpecialTokens::kNone);
  ids.insert(ids.end(), stop.begin(), stop.end());
  return ids;
}

std::size_t longest(const Tokenizer& tokenizer) {
  std::size_t bytes = 1;
  for (std::size_t id = 0; id < tokenizer.vocab_size(); ++id) {
    bytes = std::max(bytes, tokenizer.token_bytes(static_cast<TokenId>(id)).size());
  }
  return bytes;
}

}  // namespace

std::size_t ServedModel::longest_text() const {
  // Normalization to composed characters makes no text shorter than a third.
  constexpr std::size_t kNormalized = 3;
  return static_cast<std::size_t>(engine->limits().context) * longest_token * kNormalized;
}

ServedModel::ServedModel(std::string the_name, const std::filesystem::path& directory,
                         ThreadPool& pool, Precision precision, KvBits kv_bits)
    : name(std::move(the_name)),
      tokenizer(Tokenizer::load(directory)),
      chat(ChatTemplate::load(directory)),
      model(load_model(directory, pool, precision, kv_bits)),
      vocabulary(std::make_shared<const VocabularyTree>(tokenizer)),
      thinks(has_thinking_tokens(tokenizer) && tokenizer.id_of("<think>").has_value()),
      stop_tokens(end_tokens(model->config(), tokenizer)),
      xtc_exempt(exempt(stop_tokens, tokenizer)),
      longest_token(longest(tokenizer)) {}

void ServedModel::start(ThreadPool& pool, ComputeTurn& turn, const EngineLimits& limits) {
  engine = std::make_unique<ServeEngine>(*model, tokenizer, pool, turn, limits);
}

}  // namespace qx
