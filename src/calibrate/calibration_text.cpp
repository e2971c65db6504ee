// SPDX-License-Identifier: Apache-2.0
#include "calibrate/calibration_text.h"

#include <optional>
#include <string>
#include <utility>

#include "base/progress.h"
#include "calibrate/own_samples.h"
#include "calibrate/text_windows.h"
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
    require_known_tokens(window, vocab, place);
    for (const TokenId id : window) ++text.counts[static_cast<std::size_t>(id)];
    text.ngrams.add(tokenizer.decode(window, DecodeSpecial::kSkip));
    used.insert(used.end(), window.begin(), window.end());
  }
  text.tokens = static_cast<std::int64_t>(used.size());
  text.json["used_sha256"] = hash_tokens(used);
}

}  // namespace

CalibrationText read_calibration_text(const CalibrateRequest& request, std::int64_t vocab) {
  const Tokenizer tokenizer = Tokenizer::load(request.model);
  TextWindows read = read_text_windows({.model = request.model,
                                        .text = request.text,
                                        .format = request.format,
                                        .chat = request.chat,
                                        .windows = request.windows,
                                        .ctx = request.ctx,
                                        .skip = request.skip,
                                        .share = request.share},
                                       tokenizer);
  CalibrationText out;
  out.windows = std::move(read.windows);
  out.json = std::move(read.json);
  finish(out, tokenizer, vocab, request.text.string());
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
