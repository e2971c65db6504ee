// SPDX-License-Identifier: Apache-2.0
#include "calibrate/text_windows.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/hash.h"
#include "text/chat_template.h"

namespace qx {

std::vector<std::int64_t> choose_windows(std::int64_t first, std::int64_t last, std::int64_t ctx,
                                         std::int64_t count, const std::string& place) {
  const std::int64_t whole = (last - first) / ctx;
  if (whole < 1) {
    fail(place, "got {} tokens to calibrate with, expected at least one window of {} (--ctx)",
         std::max<std::int64_t>(0, last - first), ctx);
  }
  const std::int64_t taken = std::min(count, whole);
  std::vector<std::int64_t> begins;
  for (std::int64_t i = 0; i < taken; ++i) begins.push_back(first + i * whole / taken * ctx);
  return begins;
}

TextWindows read_text_windows(const TextWindowsRequest& request, const Tokenizer& tokenizer) {
  const std::optional<ChatTemplate> chat = ChatTemplate::load(request.model);
  const std::vector<Document> documents =
      read_documents(request.text, request.format, request.chat, true);
  const bool conversations = std::any_of(documents.begin(), documents.end(),
                                         [](const Document& d) { return !d.messages.is_null(); });
  const std::vector<TokenId> ids =
      encode_documents(documents, tokenizer, chat ? &*chat : nullptr, {});
  const auto all = static_cast<double>(ids.size());
  const auto first = static_cast<std::int64_t>(std::floor(all * request.skip));
  const auto last = std::min(static_cast<std::int64_t>(ids.size()),
                             static_cast<std::int64_t>(all * (request.skip + request.share)));
  const bool bos = tokenizer.adds_bos() && !conversations;
  TextWindows out;
  for (const std::int64_t begin :
       choose_windows(first, last, request.ctx, request.windows, request.text.string())) {
    std::vector<TokenId> window(ids.begin() + begin, ids.begin() + begin + request.ctx);
    if (bos) window.front() = tokenizer.bos_id().value_or(0);
    out.windows.push_back(std::move(window));
  }
  out.json = {{"file", request.text.filename().string()},
              {"sha256", sha256_file(request.text)},
              {"tokens", ids.size()},
              {"first_token", first},
              {"last_token", last},
              {"chat", conversations}};
  return out;
}

void require_known_tokens(const std::vector<TokenId>& window, std::int64_t vocab,
                          const std::string& place) {
  for (const TokenId id : window) {
    if (id >= 0 && id < vocab) continue;
    fail(place, "got token id {}, expected 0 to {} (the model's vocab_size is {})", id, vocab - 1,
         vocab);
  }
}

}  // namespace qx
