// SPDX-License-Identifier: Apache-2.0
#include "serve/engine.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/error.h"
#include "recipe/summary.h"
#include "serve/engine_group.h"

namespace qx {
namespace {

constexpr std::int64_t kLogitRows = 32;    // whose logits are held at once
constexpr std::int64_t kLeastBudget = 32;  // prompt tokens of a pass, however slow the machine

std::int64_t bytes_a_position(const Model& model, const EngineLimits& limits) {
  return limits.position_bytes > 0 ? limits.position_bytes
                                   : memory_needs(model.config(), 0, 1).cache;
}

}  // namespace

// An output of the pass: what the text of a choice continues with, or the log-probability of a
// prompt's next token.
struct ServeEngine::Row {
  EngineGroup* group = nullptr;
  EngineChoice* choice = nullptr;  // null: of the prompt
  std::int64_t position = 0;       // of the token whose output it is
  bool guess = false;              // behind another row of the choice, which answers for it
  bool ends_prompt() const { return choice == nullptr && position + 1 == group->prompt_size(); }
};

struct ServeEngine::PassPlan {
  std::vector<Chunk> chunks;
  std::vector<Row> rows;
  std::int64_t tokens = 0, prompt_tokens = 0;
};

ServeEngine::ServeEngine(Model& model, const Tokenizer& tokenizer, ThreadPool& pool,
                         ComputeTurn& turn, EngineLimits limits)
    : model_(model),
      tokenizer_(tokenizer),
      pool_(pool),
      turn_(turn),
      limits_(limits),
      tree_(bytes_a_position(model, limits), limits.prefix_bytes),
      thread_([this] { run(); }) {}

ServeEngine::~ServeEngine() {
  stop();
}

void ServeEngine::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    draining_ = aborting_ = exiting_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void ServeEngine::check(const GenerationTask& task) const {
  QX_CHECK(task.sink != nullptr && task.choices >= 1 && task.max_tokens >= 0);
  const auto size = static_cast<std::int64_t>(task.prompt.size());
  const std::int64_t vocab = model_.config().vocab_size;
  if (size == 0) fail("prompt", "got no tokens, expected at least one");
  if (size + task.max_tokens > limits_.context) {
    fail("prompt",
         "got {} tokens and up to {} to be made, expected at most {} together (the context)", size,
         task.max_tokens, limits_.context);
  }
  if (task.choices > limits_.parallel) {
    fail("n", "got {}, expected at most {} texts at once", task.choices, limits_.parallel);
  }
  const std::int64_t reserved = EngineGroup(task).reserved();
  if (reserved > limits_.positions) {
    fail("prompt", "got a request for {} positions of context, expected at most {}", reserved,
         limits_.positions);
  }
  for (const TokenId id : task.prompt) {
    if (id < 0 || id >= vocab) fail("prompt", "got token {}, expected 0 to {}", id, vocab - 1);
  }
  check_sampler_options(task.sampling, vocab);
}

ServeEngine::Submitted ServeEngine::submit(std::vector<GenerationTask> tasks) {
  std::vector<std::unique_ptr<EngineGroup>> groups;
  for (GenerationTask& task : tasks) {
    check(task);
    groups.push_back(std::make_unique<EngineGroup>(std::move(task)));
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (draining_) return Submitted::kStopping;
    // What can start at once does not wait.
    const auto room = limits_.waiting + std::max<std::int64_t>(0, limits_.parallel - stats_.active);
    if (static_cast<std::int64_t>(waiting_.size() + groups.size()) > room) return Submitted::kFull;
    for (auto& group : groups) waiting_.push_back(std::move(group));
    stats_.waiting = static_cast<std::int64_t>(waiting_.size());
  }
  changed_.notify_all();
  return Submitted::kAccepted;
}

void ServeEngine::wake() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    woken_ = true;
  }
  changed_.notify_all();
}

void ServeEngine::drain() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    draining_ = true;
  }
  changed_.notify_all();
}

void ServeEngine::abort() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    draining_ = aborting_ = true;
  }
  changed_.notify_all();
}

bool ServeEngine::idle() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return waiting_.empty() && stats_.active == 0;
}

EngineStats ServeEngine::stats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stats_;
}

void ServeEngine::publish_stats() {
  counts_.waiting = static_cast<std::int64_t>(waiting_.size());
  counts_.active = counts_.positions = 0;
  for (const auto& group : active_) {
    counts_.active += group->task.choices;
    counts_.positions += group->reserved();
  }
  counts_.prefix_bytes = tree_.bytes();
  stats_ = counts_;
}

void ServeEngine::run() {
  for (;;) {
    std::deque<std::unique_ptr<EngineGroup>> refused;
    bool aborting = false, exiting = false;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      publish_stats();
      changed_.wait(lock,
                    [&] { return exiting_ || woken_ || !waiting_.empty() || !active_.empty(); });
      woken_ = false;
      if (draining_) refused.swap(waiting_);
      for (auto it = waiting_.begin(); it != waiting_.end();) {
        const bool late = EngineGroup::Clock::now() > (*it)->task.deadline;
        if (!late && !(*it)->cancelled()) {
          ++it;
          continue;
        }
        refused.push_back(std::move(*it));
        it = waiting_.erase(it);
      }
      admit();
      publish_stats();
      aborting = aborting_;
      exiting = exiting_;
    }
    for (const auto& group : refused) {
      if (group->cancelled()) {
        group->fail(GenerationFailure::kCancelled, "cancelled");
      } else if (EngineGroup::Clock::now() > group->task.deadline) {
        group->fail(GenerationFailure::kTimeout, "the request waited for longer than its time");
      } else {
        group->fail(GenerationFailure::kStopping, "the server is shutting down");
      }
    }
    if (aborting) fail_all(GenerationFailure::kStopping, "the server is shutting down");
    drop_cancelled();
    if (exiting && active_.empty()) return;
    if (active_.empty()) continue;
    try {
      step();
    } catch (const std::bad_alloc&) {
      fail_all(GenerationFailure::kMemory, "the server has too little memory for this");
    } catch (const std::exception& e) {
      fail_all(GenerationFailure::kInternal, e.what());
    }
    drop_finished();
  }
}

void ServeEngine::admit() {
  std::int64_t texts = 0, positions = 0;
  for (const auto& group : active_) {
    texts += group->task.choices;
    positions += group->reserved();
  }
  // In the order of arrival: the first that does not fit holds the others up, or it would starve.
  while (!waiting_.empty()) {
    EngineGroup& next = *waiting_.front();
    texts += next.task.choices;
    positions += next.reserved();
    if (texts > limits_.parallel || positions > limits_.positions) break;
    active_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

void ServeEngine::drop_finished() {
  std::erase_if(active_, [](const auto& group) { return group->finished; });
}

void ServeEngine::drop_cancelled() {
  const auto now = EngineGroup::Clock::now();
  for (const auto& group : active_) {
    if (group->cancelled()) {
      group->fail(GenerationFailure::kCancelled, "cancelled");
    } else if (now > group->task.deadline) {
      group->fail(GenerationFailure::kTimeout, "the answer took longer than the request's time");
    }
  }
  drop_finished();
}

void ServeEngine::fail_all(GenerationFailure failure, const std::string& message) {
  for (const auto& group : active_) group->fail(failure, message);
  drop_finished();
}

std::int64_t ServeEngine::prompt_budget() const {
  if (seconds_a_row_ <= 0) return std::min<std::int64_t>(limits_.pass_rows, 4 * kLeastBudget);
  const double seconds = std::chrono::duration<double>(limits_.pass_time).count();
  const double rows = std::min(seconds / seconds_a_row_, static_cast<double>(limits_.pass_rows));
  return std::max(static_cast<std::int64_t>(rows), kLeastBudget);
}

// Rows of other texts cost no more than guesses and are never wrong, so guesses are for when there
// are few texts.
void ServeEngine::plan_drafts() {
  if (!limits_.drafts.wanted()) return;
  std::int64_t texts = 0;
  for (const auto& group : active_) {
    texts += group->reading ? group->task.choices : 0;
    for (const auto& choice : group->choices) texts += choice->done ? 0 : 1;
  }
  if (texts > limits_.draft_texts) return;
  for (const auto& group : active_) {
    for (const auto& choice : group->choices) {
      if (choice->done) continue;
      group->draft(*choice, limits_.drafts, model_.config().vocab_size, prompt_budget());
    }
  }
}

void ServeEngine::plan_pass(PassPlan& plan) {
  plan_drafts();
  for (const auto& group : active_) {
    for (const auto& choice : group->choices) {
      if (choice->done) continue;
      const std::int64_t count = choice->rows(), first = choice->chain.position;
      for (std::int64_t i = 0; i < count; ++i) {
        plan.rows.push_back({group.get(), choice.get(), first + i, i > 0});
      }
      choice->chain.append(model_, choice->tokens, count, SequenceChain::Outputs::kAll,
                           plan.chunks);
      plan.tokens += count;
    }
  }
  share_prompts(plan);
}

// Each prompt gets an equal share of the budget, and what a short one leaves goes to the others: a
// long prompt does not hold up a short one behind it.
void ServeEngine::share_prompts(PassPlan& plan) {
  std::vector<EngineGroup*> reading;
  for (const auto& group : active_) {
    if (group->reading) reading.push_back(group.get());
  }
  std::vector<EngineGroup*> by_size = reading;
  std::stable_sort(by_size.begin(), by_size.end(), [](const EngineGroup* a, const EngineGroup* b) {
    return a->left() < b->left();
  });
  std::int64_t budget = prompt_budget();
  auto others = static_cast<std::int64_t>(by_size.size());
  for (EngineGroup* group : by_size) {
    group->shared_rows = std::min(group->left(), std::max<std::int64_t>(budget / others, 1));
    budget = std::max<std::int64_t>(budget - group->shared_rows, 0);
    --others;
  }
  for (EngineGroup* group : reading) {
    SequenceChain& chain = group->prompt_chain;
    const std::int64_t count = group->shared_rows, first = chain.position;
    const bool last = count == group->left();
    const bool all = group->task.prompt_logprobs;
    chain.append(model_, group->task.prompt, count,
                 all    ? SequenceChain::Outputs::kAll
                 : last ? SequenceChain::Outputs::kLast
                        : SequenceChain::Outputs::kNone,
                 plan.chunks);
    for (std::int64_t i = all ? 0 : count - 1; i < count && (all || last); ++i) {
      plan.rows.push_back({group, nullptr, first + i});
    }
    plan.tokens += count;
    plan.prompt_tokens += count;
  }
}

void ServeEngine::step() {
  const std::lock_guard<ComputeTurn> turn(turn_);
  const auto begin = EngineGroup::Clock::now();
  for (const auto& group : active_) {
    if (group->started) continue;
    group->start(model_, tree_);
    counts_.cached_tokens += group->cached;
  }
  PassPlan plan;
  plan_pass(plan);
  const Hidden hidden = model_.forward(plan.chunks);
  for (const auto& group : active_) {
    group->prompt_chain.commit(tree_, group->task.prompt);
    for (const auto& choice : group->choices) choice->chain.commit(tree_, choice->tokens);
  }
  finish_rows(plan, hidden);

  const double seconds = std::chrono::duration<double>(EngineGroup::Clock::now() - begin).count();
  if (plan.prompt_tokens >= kLeastBudget) {
    const double now = seconds / static_cast<double>(plan.tokens);
    seconds_a_row_ = seconds_a_row_ > 0 ? 0.7 * seconds_a_row_ + 0.3 * now : now;
  }
  counts_.busy_seconds += seconds;
  counts_.passes += 1;
  counts_.pass_rows += plan.tokens;
  counts_.prompt_tokens += plan.prompt_tokens;
}

void ServeEngine::finish_rows(const PassPlan& plan, const Hidden& hidden) {
  QX_CHECK(hidden.rows == static_cast<std::int64_t>(plan.rows.size()));
  const auto vocab = static_cast<std::size_t>(model_.config().vocab_size);
  std::int64_t count = 0;
  for (std::int64_t first = 0; first < hidden.rows; first += count) {
    count = std::min(kLogitRows, hidden.rows - first);
    const auto rest = std::span(plan.rows).subspan(static_cast<std::size_t>(first));
    while (first + count < hidden.rows && rest[static_cast<std::size_t>(count)].guess) ++count;
    const auto rows = rest.first(static_cast<std::size_t>(count));
    logits_.resize(rows.size() * vocab);
    model_.logits_rows(hidden, first, count, logits_);
    for (const Row& row : rows) {
      if (row.ends_prompt()) row.group->begin_choices(tokenizer_);
    }
    pool_.parallel_for(rows.size(), 1, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t i = begin; i < end; ++i) {
        if (rows[i].guess) continue;
        const std::int64_t own = rows[i].choice != nullptr ? rows[i].choice->rows() : 1;
        work(rows[i], std::span(logits_).subspan(i * vocab, static_cast<std::size_t>(own) * vocab));
      }
    });
    for (const Row& row : rows) {
      if (row.guess) continue;
      if (row.choice != nullptr && !row.group->finished) row.group->report(*row.choice);
      if (row.ends_prompt()) row.group->report_prompt();
      counts_.generated_tokens += std::exchange(row.group->made, 0);
      counts_.drafted_tokens += std::exchange(row.group->drafted, 0);
      counts_.accepted_tokens += std::exchange(row.group->accepted, 0);
    }
  }
}

void ServeEngine::work(const Row& row, std::span<float> logits) {
  EngineGroup& group = *row.group;
  if (row.choice != nullptr) return group.sample(*row.choice, logits);
  if (!row.ends_prompt()) return group.score_prompt(row.position, logits);
  for (std::size_t i = 1; i < group.choices.size(); ++i) {
    std::vector<float> copy(logits.begin(), logits.end());
    group.sample(*group.choices[i], copy);
  }
  group.sample(*group.choices[0], logits);
}

}  // namespace qx
