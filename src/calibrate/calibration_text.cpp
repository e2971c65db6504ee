// SPDX-License-Identifier: Apache-2.0
#include "calibrate/calibration_text.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/hash.h"
#include "base/progress.h"
#include "calibrate/own_samples.h"
#include "model/cpu_model.h"
#include "text/chat_template.h"

namespace qx {
namespace {

// What follows from the windows.
void finish(CalibrationText& text, const Tokenizer& tokenizer, std::int64_t vocab,
            const std::string& place) {
  text.counts.assign(static_cast<std::size_t>(vocab), 0);
  std::vector<TokenId> used;
  for (const std::vector<TokenId>& window : text.windows) {
    for (const TokenId id : window) {
      if (id < 0 || id >= vocab) {
        fail(place, "got token id {}, expected 0 to {} (the model's vocab_size is {})", id,
             vocab - 1, vocab);
      }
      ++text.counts[static_cast<std::size_t>(id)];
    }
    text.ngrams.add(tokenizer.decode(window, DecodeSpecial::kSkip));
    used.insert(used.end(), window.begin(), window.end());
  }
  text.tokens = static_cast<std::int64_t>(used.size());
  text.json["used_sha256"] = hash_tokens(used);
}

}  // namespace

CalibrationText read_calibration_text(const CalibrateRequest& request, std::int64_t vocab) {
  const Tokenizer tokenizer = Tokenizer::load(request.model);
  const std::optional<ChatTemplate> chat = ChatTemplate::load(request.model);
  const std::string place = request.text.string();
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
  CalibrationText out;
  const bool bos = tokenizer.adds_bos() && !conversations;
  for (const std::int64_t begin :
       choose_windows(first, last, request.ctx, request.windows, place)) {
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
  finish(out, tokenizer, vocab, place);
  return out;
}

CalibrationText sample_calibration_text(const CalibrateRequest& request, std::int64_t vocab,
                                        std::vector<std::vector<TokenId>> kept, ThreadPool& pool) {
  const Tokenizer tokenizer = Tokenizer::load(request.model);
  const std::optional<ChatTemplate> chat = ChatTemplate::load(request.model);
  CalibrationText out;
  out.windows = std::move(kept);
  if (out.windows.empty()) {
    CpuModel model(load_weights(request.model), pool, Precision::kExact);
    Progress progress("sampling", static_cast<std::uint64_t>(request.windows * request.ctx),
                      "tokens", request.quiet);
    out.windows = sample_windows(
        model, tokenizer, chat ? &*chat : nullptr,
        {.windows = request.windows, .ctx = request.ctx, .seed = request.seed},
        [&](std::int64_t tokens) { progress.advance(static_cast<std::uint64_t>(tokens)); });
  }
  out.json = {{"file", nullptr},
              {"sha256", nullptr},
              {"own_samples", {{"seed", request.seed}, {"chat", chat.has_value()}}}};
  finish(out, tokenizer, vocab, request.model.string());
  return out;
}

}  // namespace qx
