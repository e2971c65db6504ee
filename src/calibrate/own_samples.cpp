// SPDX-License-Identifier: Apache-2.0
#include "calibrate/own_samples.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/random.h"
#include "generate/sampler.h"

namespace qx {
namespace {

constexpr std::int64_t kTogether = 32;  // windows that grow in one forward pass

// What stands before a user's message, and between it and the answer, in tokens.
struct TurnMarks {
  std::vector<TokenId> before, between;
};

std::optional<TurnMarks> turn_marks(const Tokenizer& tokenizer, const ChatTemplate* chat) {
  if (chat == nullptr) return std::nullopt;
  const std::string mark = "qx-user-message";
  std::string text;
  try {
    text = chat->render(Json::array({{{"role", "user"}, {"content", mark}}}), {});
  } catch (const Error&) {
    return std::nullopt;  // a template that takes no single message
  }
  const std::size_t at = text.find(mark);
  if (at == std::string::npos) return std::nullopt;
  TurnMarks out;
  out.before = tokenizer.encode(text.substr(0, at), SpecialTokens::kNone);
  out.between = tokenizer.encode(text.substr(at + mark.size()), SpecialTokens::kNone);
  if (out.before.empty() || out.between.empty()) return std::nullopt;
  return out;
}

// One window as it grows.
struct Growing {
  std::vector<TokenId> tokens;
  std::deque<TokenId> forced;  // to come before anything is drawn
  std::shared_ptr<KvSegment> segment;
  std::size_t read = 0;  // tokens that the model has seen
  Sampler sampler;
  bool conversation = false, answering = false;

  // The next forced token, else this one.
  void append(TokenId drawn) {
    if (!forced.empty()) {
      drawn = forced.front();
      forced.pop_front();
    }
    tokens.push_back(drawn);
  }
};

class WindowSampler {
 public:
  WindowSampler(Model& model, const Tokenizer& tokenizer, const ChatTemplate* chat,
                const SampleRules& rules)
      : model_(model), rules_(rules), marks_(turn_marks(tokenizer, chat)) {
    eos_ = tokenizer.eos_id().value_or(-1);
    first_ = tokenizer.bos_id().value_or(eos_);
    if (first_ < 0) {
      fail("tokenizer",
           "has neither a BOS nor an EOS token, expected one to begin the model's own text with; "
           "give a text with --text");
    }
  }

  std::vector<std::vector<TokenId>> run(
      std::int64_t first, std::int64_t count,
      const std::function<void(std::int64_t tokens)>& progress) const {
    std::vector<Growing> windows;
    for (std::int64_t i = first; i < first + count; ++i) windows.push_back(begin(i));
    std::vector<float> logits;
    while (
        std::any_of(windows.begin(), windows.end(), [&](const Growing& w) { return !full(w); })) {
      check_interrupt();
      step(windows, logits);
      progress(count);
    }
    std::vector<std::vector<TokenId>> out;
    for (Growing& w : windows) out.push_back(std::move(w.tokens));
    return out;
  }

 private:
  bool full(const Growing& w) const {
    return static_cast<std::int64_t>(w.tokens.size()) >= rules_.ctx;
  }

  Growing begin(std::int64_t index) const {
    SamplerOptions options;
    options.temperature = 1;
    // Seeds of neighbours far apart.
    options.seed = Random(rules_.seed + 0x51ED2701ull * static_cast<std::uint64_t>(index)).next();
    Growing w{.tokens = {},
              .forced = {},
              .segment = model_.new_segment(nullptr, rules_.ctx),
              .read = 0,
              .sampler = Sampler(options),
              .conversation = marks_.has_value() && index % 2 == 1};
    if (w.conversation) {
      w.forced.assign(marks_->before.begin(), marks_->before.end());
    } else {
      w.forced.push_back(first_);
    }
    w.append(0);
    return w;
  }

  // What must follow an end of text.
  void force_next(Growing& w) const {
    if (!w.conversation) {
      if (first_ != eos_) w.forced.push_back(first_);
      return;
    }
    const std::vector<TokenId>& next = w.answering ? marks_->before : marks_->between;
    // The template may itself write the token that just ended the message.
    const bool repeats = !w.answering && next.front() == eos_;
    w.forced.assign(next.begin() + (repeats ? 1 : 0), next.end());
    w.answering = !w.answering;
  }

  void step(std::vector<Growing>& windows, std::vector<float>& logits) const {
    std::vector<Chunk> chunks;
    std::vector<std::size_t> of;
    const std::int32_t output = 0;
    for (std::size_t i = 0; i < windows.size(); ++i) {
      if (full(windows[i])) continue;
      Growing& w = windows[i];
      chunks.push_back({w.segment.get(), std::span(w.tokens).subspan(w.read), {&output, 1}});
      w.read = w.tokens.size();
      of.push_back(i);
    }
    const Hidden hidden = model_.forward(chunks);
    const auto vocab = static_cast<std::size_t>(model_.config().vocab_size);
    logits.resize(of.size() * vocab);
    model_.logits_rows(hidden, 0, hidden.rows, logits);
    for (std::size_t c = 0; c < of.size(); ++c) {
      Growing& w = windows[of[c]];
      if (!w.forced.empty()) {
        w.append(0);
        continue;
      }
      const TokenId drawn = draw(w, std::span(logits).subspan(c * vocab, vocab));
      w.append(drawn);
      if (drawn == eos_) force_next(w);
    }
  }

  TokenId draw(Growing& w, std::span<float> logits) const {
    if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); })) {
      fail("the model",
           "got logits that are NaN or infinite, expected finite ones; its weights may "
           "be damaged");
    }
    log_softmax(logits, logits);
    return w.sampler.sample(logits);
  }

  Model& model_;
  const SampleRules& rules_;
  std::optional<TurnMarks> marks_;
  TokenId eos_ = -1, first_ = -1;
};

}  // namespace

std::vector<std::vector<TokenId>> sample_windows(
    Model& model, const Tokenizer& tokenizer, const ChatTemplate* chat, const SampleRules& rules,
    const std::function<void(std::int64_t tokens)>& progress) {
  const WindowSampler sampler(model, tokenizer, chat, rules);
  std::vector<std::vector<TokenId>> out;
  for (std::int64_t first = 0; first < rules.windows; first += kTogether) {
    const std::int64_t count = std::min(kTogether, rules.windows - first);
    for (auto& window : sampler.run(first, count, progress)) out.push_back(std::move(window));
  }
  return out;
}

}  // namespace qx
