// SPDX-License-Identifier: Apache-2.0
#include "generate/generate.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "generate/draft.h"

namespace qx {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool asked(const std::function<bool()>& question) {
  return question && question();
}

// Runs what is left of the prompt through the model: the hidden state after its last token. Without rows
// when it was cancelled.
Hidden read_prompt(KeptSequence& kept, std::span<const TokenId> rest,
                   const GenerateOptions& options) {
  Progress progress("prompt", rest.size(), "tokens", options.quiet);
  Hidden hidden;
  for (std::size_t begin = 0; begin < rest.size();) {
    check_interrupt();
    if (asked(options.cancelled)) return {};
    const std::size_t count = std::min(rest.size() - begin, static_cast<std::size_t>(kPromptPiece));
    hidden = kept.append(rest.subspan(begin, count), begin + count == rest.size());
    begin += count;
    progress.advance(count);
  }
  return hidden;
}

StepLogprobs describe_step(std::span<const float> logprobs, TokenId id, std::int64_t top) {
  StepLogprobs step;
  step.id = id;
  step.logprob = static_cast<double>(logprobs[static_cast<std::size_t>(id)]);
  std::vector<TokenId> order(logprobs.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count = std::min<std::ptrdiff_t>(top, static_cast<std::ptrdiff_t>(order.size()));
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](TokenId a, TokenId b) {
    const float x = logprobs[static_cast<std::size_t>(a)];
    const float y = logprobs[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  });
  for (auto it = order.begin(); it != order.begin() + count; ++it) {
    step.top.emplace_back(*it, static_cast<double>(logprobs[static_cast<std::size_t>(*it)]));
  }
  return step;
}

}  // namespace

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "";
}

KeptSequence::KeptSequence(Model& model, std::int64_t context)
    : model_(&model), context_(context), segment_(model.new_segment(nullptr, context)) {}

std::int64_t KeptSequence::keep_shared(std::span<const TokenId> tokens) {
  const auto shared = std::mismatch(tokens_.begin(), tokens_.end(), tokens.begin(), tokens.end());
  const auto count = shared.first - tokens_.begin();
  tokens_.erase(shared.first, tokens_.end());
  segment_->truncate(count);
  return count;
}

void KeptSequence::adopt(std::shared_ptr<KvSegment> segment, std::vector<TokenId> tokens) {
  QX_CHECK(segment->begin() == 0 && segment->end() == static_cast<std::int64_t>(tokens.size()));
  segment_ = std::move(segment);
  tokens_ = std::move(tokens);
}

Hidden KeptSequence::forward(std::span<const TokenId> tokens,
                             std::span<const std::int32_t> outputs) {
  const Chunk chunk{segment_.get(), tokens, outputs};
  Hidden hidden = model_->forward({&chunk, 1});
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  return hidden;
}

Hidden KeptSequence::append(std::span<const TokenId> tokens, bool want_output) {
  const std::int32_t last[] = {static_cast<std::int32_t>(tokens.size()) - 1};
  return forward(
      tokens, want_output ? std::span<const std::int32_t>(last) : std::span<const std::int32_t>());
}

Hidden KeptSequence::append_all(std::span<const TokenId> tokens) {
  std::vector<std::int32_t> outputs(tokens.size());
  std::iota(outputs.begin(), outputs.end(), 0);
  return forward(tokens, outputs);
}

void KeptSequence::truncate(std::int64_t count) {
  if (count >= static_cast<std::int64_t>(tokens_.size())) return;
  tokens_.resize(static_cast<std::size_t>(count));
  segment_->truncate(count);
}

namespace {

class TextLoop {
 public:
  // limit: of tokens, at least 1.
  TextLoop(Model& model, KeptSequence& kept, const GenerateOptions& options,
           const std::function<void(TokenId)>& on_token, std::int64_t limit)
      : model_(model),
        kept_(kept),
        options_(options),
        on_token_(on_token),
        limit_(limit),
        sampler_(options.sampling) {}

  // From the first choice on. hidden: after the prompt's last token, which is what `out` was
  // started with.
  void write(Hidden hidden, std::span<const TokenId> prompt, Clock::time_point start,
             Generation& out) {
    start_ = start;
    history_.assign(prompt.begin(), prompt.end());
    while (!choose(hidden, out)) {
      check_interrupt();
      drafted_ = next_draft(out);
      std::vector<TokenId> feed = {history_.back()};
      feed.insert(feed.end(), drafted_.begin(), drafted_.end());
      hidden = kept_.append_all(feed);
      ++out.drafts.passes;
    }
  }

 private:
  // Chooses tokens from the outputs of a pass as long as the draft has guessed them. True: the text
  // is at its end.
  bool choose(const Hidden& hidden, Generation& out) {
    const auto vocab = static_cast<std::size_t>(model_.config().vocab_size);
    logits_.resize(static_cast<std::size_t>(hidden.rows) * vocab);
    model_.logits_rows(hidden, 0, hidden.rows, logits_);
    std::size_t accepted = 0;
    std::optional<FinishReason> end;
    for (std::size_t row = 0; row <= drafted_.size() && row == accepted && !end; ++row) {
      const std::span<float> logprobs = std::span(logits_).subspan(row * vocab, vocab);
      const bool finite =
          std::all_of(logprobs.begin(), logprobs.end(), [](float v) { return std::isfinite(v); });
      // The one way to say what is wrong with them.
      if (!finite) model_.logits(hidden.row(static_cast<std::int64_t>(row)), logprobs);
      if (options_.constraint != nullptr) options_.constraint->mask(logprobs);
      const TokenId id = sampler_.choose(logprobs, history_);
      if (row < drafted_.size() && drafted_[row] == id) ++accepted;
      note_time(out);
      history_.push_back(id);
      end = take(id, logprobs, out);
      out.generation_seconds = seconds_since(first_token_);
    }
    // What the draft had wrong was read as well.
    kept_.truncate(static_cast<std::int64_t>(history_.size()) - 1);
    if (!drafted_.empty()) {
      options_.drafter->judge(static_cast<std::int64_t>(accepted));
      out.drafts.drafted += static_cast<std::int64_t>(drafted_.size());
      out.drafts.accepted += static_cast<std::int64_t>(accepted);
    }
    if (end) out.finish_reason = *end;
    return end.has_value();
  }

  // After a choice, before it is part of the history.
  void note_time(Generation& out) {
    out.generation_steps = static_cast<std::int64_t>(history_.size()) - out.prompt_tokens;
    if (out.generation_steps > 0) return;
    first_token_ = Clock::now();
    out.prompt_seconds = seconds_since(start_);
  }

  std::vector<TokenId> next_draft(const Generation& out) const {
    if (options_.drafter == nullptr) return {};
    DraftRequest request;
    request.history = history_;
    // Each pass makes one token more than it has guesses.
    request.most = limit_ - static_cast<std::int64_t>(out.tokens.size()) - 1;
    request.vocab_size = model_.config().vocab_size;
    request.sampler = &sampler_;
    request.constraint = options_.constraint;
    request.stop = options_.stop;
    const std::span<const TokenId> draft = options_.drafter->draft(request);
    return {draft.begin(), draft.end()};
  }

  // Adds the token to the text, unless it ends it; why the text ends here, if it does.
  std::optional<FinishReason> take(TokenId id, std::span<const float> logprobs,
                                   Generation& out) const {
    if (std::find(options_.stop.begin(), options_.stop.end(), id) != options_.stop.end()) {
      return FinishReason::kStop;
    }
    if (options_.constraint != nullptr) options_.constraint->accept(id);
    out.tokens.push_back(id);
    if (options_.report_logprobs) {
      out.logprobs.push_back(describe_step(logprobs, id, options_.top_logprobs));
    }
    if (options_.on_logprobs) options_.on_logprobs(logprobs);
    on_token_(id);
    if (asked(options_.finished)) return FinishReason::kStop;
    if (options_.constraint != nullptr && options_.constraint->finished())
      return FinishReason::kStop;
    if (static_cast<std::int64_t>(out.tokens.size()) == limit_) return FinishReason::kLength;
    if (asked(options_.cancelled)) return FinishReason::kCancelled;
    return std::nullopt;
  }

  Model& model_;
  KeptSequence& kept_;
  const GenerateOptions& options_;
  const std::function<void(TokenId)>& on_token_;
  const std::int64_t limit_;
  Sampler sampler_;
  Clock::time_point start_, first_token_;
  std::vector<float> logits_;
  std::vector<TokenId> history_;  // prompt and text, the stop token included
  std::vector<TokenId> drafted_;  // read by the last pass behind the last token of the history
};

// Lets the draft model read the prompt too. False when it was cancelled.
bool read_for_drafts(std::span<const TokenId> prompt, const GenerateOptions& options) {
  while (options.drafter != nullptr && !options.drafter->read(prompt, kPromptPiece)) {
    check_interrupt();
    if (asked(options.cancelled)) return false;
  }
  return true;
}

}  // namespace

Generation generate(Model& model, std::span<const TokenId> prompt, const GenerateOptions& options,
                    const std::function<void(TokenId)>& on_token) {
  const std::int64_t context =
      options.context > 0 ? options.context : model.config().max_position_embeddings;
  const auto prompt_tokens = static_cast<std::int64_t>(prompt.size());
  const std::int64_t needed =
      prompt_tokens +
      std::max<std::int64_t>(0, std::min(context - prompt_tokens, options.max_tokens));
  KeptSequence fresh(model, std::min(context, needed));  // a prompt that is too long needs none
  return generate(model, fresh, prompt, options, on_token);
}

Generation generate(Model& model, KeptSequence& kept, std::span<const TokenId> prompt,
                    const GenerateOptions& options, const std::function<void(TokenId)>& on_token) {
  const std::int64_t context =
      options.context > 0 ? std::min(options.context, kept.context()) : kept.context();
  Generation out;
  out.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  if (prompt.empty()) fail("prompt", "got no tokens, expected at least one");
  if (out.prompt_tokens > context) {
    fail("prompt", "got {} tokens, expected at most {} (the context); shorten the prompt",
         out.prompt_tokens, context);
  }
  check_sampler_options(options.sampling, model.config().vocab_size);
  const std::int64_t limit = std::min(options.max_tokens, context - out.prompt_tokens);
  if (limit <= 0) return out;

  const Clock::time_point start = Clock::now();
  // The last token goes through the model in any case: its output is what the first choice needs.
  out.reused_tokens = kept.keep_shared(prompt.first(prompt.size() - 1));
  Hidden hidden =
      read_prompt(kept, prompt.subspan(static_cast<std::size_t>(out.reused_tokens)), options);
  if (hidden.rows == 0 || !read_for_drafts(prompt, options)) {
    out.finish_reason = FinishReason::kCancelled;
    return out;
  }
  TextLoop(model, kept, options, on_token, limit).write(std::move(hidden), prompt, start, out);
  return out;
}

std::int64_t peak_memory_bytes() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
#if defined(__APPLE__)
  return static_cast<std::int64_t>(usage.ru_maxrss);  // bytes there, kilobytes elsewhere
#else
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
#endif
}

}  // namespace qx
