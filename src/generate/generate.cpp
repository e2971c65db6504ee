// SPDX-License-Identifier: Apache-2.0
#include "generate/generate.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <numeric>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"

namespace qx {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Runs the prompt through the model; the hidden state after its last token.
Hidden read_prompt(Model& model, KvSegment& segment, std::span<const TokenId> prompt, bool quiet) {
  Progress progress("prompt", prompt.size(), "tokens", quiet);
  Hidden hidden;
  for (std::size_t begin = 0; begin < prompt.size();) {
    check_interrupt();
    const std::size_t count =
        std::min(prompt.size() - begin, static_cast<std::size_t>(kPromptPiece));
    const std::int32_t last[] = {static_cast<std::int32_t>(count) - 1};
    const bool final = begin + count == prompt.size();
    const Chunk chunk{
        &segment, prompt.subspan(begin, count),
        final ? std::span<const std::int32_t>(last) : std::span<const std::int32_t>()};
    hidden = model.forward({&chunk, 1});
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
  return reason == FinishReason::kStop ? "stop" : "length";
}

Generation generate(Model& model, std::span<const TokenId> prompt, const GenerateOptions& options,
                    const std::function<void(TokenId)>& on_token) {
  const std::int64_t context =
      options.context > 0 ? options.context : model.config().max_position_embeddings;
  Generation out;
  out.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  if (prompt.empty()) fail("prompt", "got no tokens, expected at least one");
  if (out.prompt_tokens > context) {
    fail("prompt", "got {} tokens, expected at most {} (the context); shorten the prompt",
         out.prompt_tokens, context);
  }
  const std::int64_t limit = std::min(options.max_tokens, context - out.prompt_tokens);
  if (limit <= 0) return out;

  const Clock::time_point start = Clock::now();
  Clock::time_point first_token = start;
  const auto segment = model.new_segment(nullptr, out.prompt_tokens + limit);
  Hidden hidden = read_prompt(model, *segment, prompt, options.quiet);
  Sampler sampler(options.sampling);
  std::vector<float> logprobs(static_cast<std::size_t>(model.config().vocab_size));
  for (std::int64_t step = 0;; ++step) {
    model.logits(hidden.row(0), logprobs);
    log_softmax(logprobs, logprobs);
    const TokenId id = sampler.sample(logprobs);
    if (step == 0) {
      first_token = Clock::now();
      out.prompt_seconds = seconds_since(start);
    }
    out.generation_steps = step;
    if (std::find(options.stop.begin(), options.stop.end(), id) != options.stop.end()) {
      out.finish_reason = FinishReason::kStop;
      break;
    }
    out.tokens.push_back(id);
    if (options.report_logprobs) {
      out.logprobs.push_back(describe_step(logprobs, id, options.top_logprobs));
    }
    on_token(id);
    if (step + 1 == limit) break;
    check_interrupt();
    const std::int32_t only[] = {0};
    const Chunk chunk{segment.get(), {&id, 1}, only};
    hidden = model.forward({&chunk, 1});
  }
  out.generation_seconds = seconds_since(first_token);
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
