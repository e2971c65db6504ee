// SPDX-License-Identifier: Apache-2.0
#include "generate/generate.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"

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

Hidden KeptSequence::append(std::span<const TokenId> tokens, bool want_output) {
  const std::int32_t last[] = {static_cast<std::int32_t>(tokens.size()) - 1};
  const Chunk chunk{
      segment_.get(), tokens,
      want_output ? std::span<const std::int32_t>(last) : std::span<const std::int32_t>()};
  Hidden hidden = model_->forward({&chunk, 1});
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  return hidden;
}

namespace {

struct TextLoop {
  Model& model;
  KeptSequence& kept;
  const GenerateOptions& options;
  const std::function<void(TokenId)>& on_token;
  std::int64_t limit;  // tokens, at least 1

  // From the first choice on: a token a step. hidden: after the prompt's last token, which is what
  // `out` was started with.
  void write(Hidden hidden, std::span<const TokenId> prompt, Clock::time_point start,
             Generation& out) const {
    Sampler sampler(options.sampling);
    std::vector<float> logprobs(static_cast<std::size_t>(model.config().vocab_size));
    std::vector<TokenId> history(prompt.begin(), prompt.end());
    Clock::time_point first_token = start;
    for (std::int64_t step = 0;; ++step) {
      model.logits(hidden.row(0), logprobs);
      if (options.constraint != nullptr) options.constraint->mask(logprobs);
      const TokenId id = sampler.choose(logprobs, history);
      if (step == 0) {
        first_token = Clock::now();
        out.prompt_seconds = seconds_since(start);
      }
      out.generation_steps = step;
      history.push_back(id);
      const std::optional<FinishReason> end = take(id, logprobs, out);
      out.generation_seconds = seconds_since(first_token);
      if (end) {
        out.finish_reason = *end;
        return;
      }
      check_interrupt();
      hidden = kept.append({&id, 1}, true);
    }
  }

  // Adds the token to the text, unless it ends it; why the text ends here, if it does.
  std::optional<FinishReason> take(TokenId id, std::span<const float> logprobs,
                                   Generation& out) const {
    if (std::find(options.stop.begin(), options.stop.end(), id) != options.stop.end()) {
      return FinishReason::kStop;
    }
    if (options.constraint != nullptr) options.constraint->accept(id);
    out.tokens.push_back(id);
    if (options.report_logprobs) {
      out.logprobs.push_back(describe_step(logprobs, id, options.top_logprobs));
    }
    on_token(id);
    if (asked(options.finished)) return FinishReason::kStop;
    if (options.constraint != nullptr && options.constraint->finished()) return FinishReason::kStop;
    if (static_cast<std::int64_t>(out.tokens.size()) == limit) return FinishReason::kLength;
    if (asked(options.cancelled)) return FinishReason::kCancelled;
    return std::nullopt;
  }
};

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
  if (hidden.rows == 0) {
    out.finish_reason = FinishReason::kCancelled;
    return out;
  }
  TextLoop{model, kept, options, on_token, limit}.write(std::move(hidden), prompt, start, out);
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
