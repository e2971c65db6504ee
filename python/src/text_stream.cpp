// SPDX-License-Identifier: Apache-2.0
#include "text_stream.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/error.h"
#include "generate/end_tokens.h"
#include "interruptible.h"

namespace qx::python {
namespace nb = nanobind;
namespace {

constexpr std::chrono::milliseconds kSignalPeriod{50};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

TextStream::TextStream(std::shared_ptr<LoadedModel> model,
                       std::shared_ptr<ModelTokenizer> tokenizer,
                       std::shared_ptr<PromptCache> cache, TextSettings settings)
    : model_(std::move(model)),
      tokenizer_(std::move(tokenizer)),
      cache_(std::move(cache)),
      settings_(std::move(settings)),
      detokenizer_(tokenizer_->tokenizer,
                   settings_.skip_special_tokens ? DecodeSpecial::kSkip : DecodeSpecial::kKeep),
      stop_(settings_.stop) {
  const ModelConfig& config = model_->model->config();
  GenerateOptions& options = settings_.generate;
  for (const TokenId id : end_tokens(config, tokenizer_->tokenizer)) options.stop.push_back(id);
  if (options.sampling.xtc_probability > 0) {
    options.sampling.xtc_special_tokens = xtc_kept_tokens(config, tokenizer_->tokenizer);
  }
  check_sampler_options(options.sampling, config.vocab_size);
  if (settings_.schema != nullptr) {
    constraint_.emplace(settings_.schema, tokenizer_->vocabulary_tree(), options.stop);
    options.constraint = &*constraint_;
  }
  const std::int64_t context =
      cache_ != nullptr ? cache_->kept->context() : config.max_position_embeddings;
  limit_ =
      std::min(options.max_tokens, context - static_cast<std::int64_t>(settings_.prompt.size()));
  options.finished = [this] { return stop_.stopped(); };
  options.cancelled = [this] {
    const std::lock_guard<std::mutex> lock(mutex_);
    return cancelled_;
  };
  options.on_logprobs = [this](std::span<const float> row) {
    step_.logprobs.assign(row.begin(), row.end());
  };
  if (cache_ != nullptr) {
    if (cache_->owner != model_) fail("prompt_cache", "is of another model, expected this one's");
    if (cache_->in_use) fail("prompt_cache", "is in use by a text that is not finished");
    cache_->in_use = true;
  }
}

TextStream::~TextStream() {
  close();
}

void TextStream::work() {
  try {
    run_loop();
  } catch (...) {
    failure_ = std::current_exception();
  }
  finished_ = true;
  const std::lock_guard<std::mutex> lock(mutex_);
  consumers_turn_ = true;
  wake_.notify_all();
}

void TextStream::run_loop() {
  const auto take = [this](TokenId id) { on_token(id); };
  const Generation g =
      cache_ != nullptr
          ? generate(*model_->model, *cache_->kept, settings_.prompt, settings_.generate, take)
          : generate(*model_->model, settings_.prompt, settings_.generate, take);
  step_.text += stop_.push(detokenizer_.finish());
  step_.text += stop_.finish();
  step_.prompt_tokens = g.prompt_tokens;
  step_.reused_tokens = g.reused_tokens;
  step_.prompt_seconds = g.prompt_seconds;
  step_.generation_steps = g.generation_steps;
  step_.generation_seconds += g.tokens.empty() ? 0 : now() - resumed_at_;
  step_.generated = static_cast<std::int64_t>(g.tokens.size());
  step_.finish_reason = finish_reason_name(g.finish_reason);
}

void TextStream::on_token(TokenId id) {
  const double worked = now() - resumed_at_;
  if (step_.generated == 0) {
    step_.prompt_seconds = worked;
    step_.prompt_tokens = static_cast<std::int64_t>(settings_.prompt.size());
  } else {
    step_.generation_seconds += worked;
    ++step_.generation_steps;
  }
  resumed_at_ = now();
  ++step_.generated;
  step_.token = id;
  step_.text += stop_.push(detokenizer_.push(id));
  // The token that ends the text is given out with what the end brings, as mlx-lm does it.
  if (stop_.stopped() || step_.generated == limit_) return;
  hand_over();
  step_.text.clear();
  resumed_at_ = now();
}

void TextStream::hand_over() {
  std::unique_lock<std::mutex> lock(mutex_);
  consumers_turn_ = true;
  wake_.notify_all();
  wake_.wait(lock, [this] { return !consumers_turn_; });
}

// Gives the loop its turn until it has a step. Without the GIL. False: a signal handler raised, the
// error is set in failure_.
bool TextStream::wait_for_step() {
  const std::lock_guard<std::mutex> model_lock(model_->mutex);
  std::exception_ptr raised;
  std::unique_lock<std::mutex> lock(mutex_);
  consumers_turn_ = false;
  if (!thread_.joinable()) {
    resumed_at_ = now();
    thread_ = std::thread([this] { work(); });
  }
  wake_.notify_all();
  while (!wake_.wait_for(lock, kSignalPeriod, [this] { return consumers_turn_; })) {
    if (raised) continue;
    lock.unlock();
    try {
      const nb::gil_scoped_acquire gil;
      check_signals();
    } catch (...) {
      raised = std::current_exception();
    }
    lock.lock();
    if (raised) cancelled_ = true;
  }
  if (raised) failure_ = raised;
  return !raised;
}

std::optional<TextStep> TextStream::next() {
  if (taken_) return std::nullopt;
  bool stepped = false;
  {
    const nb::gil_scoped_release release;
    stepped = wait_for_step();
  }
  if (!stepped || failure_) {
    const std::exception_ptr failure = failure_;
    close();
    std::rethrow_exception(failure);
  }
  if (!finished_) return step_;
  TextStep last = std::move(step_);
  close();
  return last;
}

void TextStream::close() {
  if (taken_ && !thread_.joinable()) return;
  taken_ = true;
  if (thread_.joinable()) {
    // Between steps the loop waits in hand_over(); told that it is cancelled, it computes nothing
    // more.
    const nb::gil_scoped_release release;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      cancelled_ = true;
      consumers_turn_ = false;
      wake_.notify_all();
    }
    thread_.join();
  }
  if (cache_ != nullptr) cache_->in_use = false;
}

}  // namespace qx::python
