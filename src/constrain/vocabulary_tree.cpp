// SPDX-License-Identifier: Apache-2.0
#include "constrain/vocabulary_tree.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace qx {
namespace {

std::size_t common_length(std::string_view a, std::string_view b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                                  a.begin());
}

}  // namespace

VocabularyTree::VocabularyTree(const Tokenizer& tokenizer) {
  auto out = std::make_unique<Impl>();
  out->vocab_size = tokenizer.vocab_size();
  out->bytes.resize(out->vocab_size);
  for (std::size_t i = 0; i < out->vocab_size; ++i) {
    const auto id = static_cast<TokenId>(i);
    if (tokenizer.is_special(id)) continue;
    std::string bytes = tokenizer.token_bytes(id);
    if (bytes.empty() || bytes.size() > UINT16_MAX) continue;
    if (bytes.find('"') != std::string::npos) out->with_quote.push_back(id);
    out->tokens.push_back(id);
    out->bytes[i] = std::move(bytes);
  }
  const auto bytes_of = [&](TokenId id) -> std::string_view {
    return out->bytes[static_cast<std::size_t>(id)];
  };
  std::sort(out->tokens.begin(), out->tokens.end(), [&](TokenId a, TokenId b) {
    return bytes_of(a) != bytes_of(b) ? bytes_of(a) < bytes_of(b) : a < b;
  });
  out->nodes.push_back({0, 0, 0, 0});
  std::vector<std::int32_t> path = {0};  // from the root to the last node
  std::string_view last;
  const auto close = [&](std::size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      out->nodes[static_cast<std::size_t>(path.back())].end =
          static_cast<std::int32_t>(out->nodes.size());
    }
  };
  for (std::size_t t = 0; t < out->tokens.size(); ++t) {
    const std::string_view bytes = bytes_of(out->tokens[t]);
    const std::size_t shared = common_length(last, bytes);
    if (shared < bytes.size()) close(shared + 1);
    for (std::size_t depth = shared; depth < bytes.size(); ++depth) {
      path.push_back(static_cast<std::int32_t>(out->nodes.size()));
      // A node on the way has no tokens: those of the node itself begin where the last one's end.
      out->nodes.push_back({0, static_cast<std::int32_t>(t), static_cast<std::uint16_t>(depth + 1),
                            static_cast<std::uint8_t>(bytes[depth])});
    }
    last = bytes;
  }
  close(0);
  out->nodes.push_back({0, static_cast<std::int32_t>(out->tokens.size()), 0, 0});
  impl_ = std::move(out);
}

VocabularyTree::~VocabularyTree() = default;

}  // namespace qx
