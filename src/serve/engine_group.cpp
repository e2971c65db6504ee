// SPDX-License-Identifier: Apache-2.0
#include "serve/engine_group.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"

namespace qx {
namespace {

SamplerOptions seeded(SamplerOptions options, int choice) {
  // Choice 0 is what the seed gives alone; the others begin far away from it.
  options.seed += static_cast<std::uint64_t>(choice) * 0xD1342543DE82EF95ull;
  return options;
}

constexpr const char* kNotFinite =
    "the model gave logits that are not finite; its weights hold NaN, infinite or far too large "
    "values";

void check_finite(std::span<const float> logits) {
  // Only an exponent of all ones carries into the highest bit. No branch for each of so many.
  std::uint32_t carries = 0;
  for (const float v : logits) {
    carries |= (std::bit_cast<std::uint32_t>(v) & 0x7F800000u) + 0x00800000u;
  }
  if (carries >> 31 != 0) throw InternalError(kNotFinite);
}

// 0, 1, 2, .. for the outputs of whole chunks.
std::span<const std::int32_t> first_indices(std::int64_t count) {
  static const auto kAll = [] {
    std::array<std::int32_t, kPrefixBlock> all{};
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int32_t>(i);
    return all;
  }();
  return std::span(kAll).first(static_cast<std::size_t>(count));
}

}  // namespace

void SequenceChain::append(Model& model, std::span<const TokenId> tokens, std::int64_t count,
                           Outputs outputs, std::vector<Chunk>& chunks) {
  while (count > 0) {
    if (position == tail_end) {
      const std::int64_t room = kPrefixBlock - position % kPrefixBlock;
      in_tree = in_tree && room == kPrefixBlock;
      tail = model.new_segment(std::move(tail), room);
      tail_end = position + room;
    }
    const std::int64_t piece = std::min(count, tail_end - position);
    std::span<const std::int32_t> rows;
    if (outputs == Outputs::kAll) rows = first_indices(piece);
    if (outputs == Outputs::kLast && piece == count) {
      rows = first_indices(piece).last(1);
    }
    chunks.push_back(
        {tail.get(),
         tokens.subspan(static_cast<std::size_t>(position), static_cast<std::size_t>(piece)),
         rows});
    position += piece;
    count -= piece;
    if (in_tree && position == tail_end) filled.push_back({tail, tail_end - kPrefixBlock});
  }
}

void SequenceChain::commit(PrefixTree& tree, std::span<const TokenId> tokens) {
  for (Filled& block : filled) {
    if (!in_tree) break;
    PrefixTree::Node* added =
        tree.add(node, tokens.subspan(static_cast<std::size_t>(block.begin), kPrefixBlock),
                 std::move(block.segment));
    in_tree = added != nullptr;
    node = added;
  }
  filled.clear();
}

std::int64_t SequenceChain::revocable() const {
  const std::int64_t room =
      position == tail_end ? kPrefixBlock - position % kPrefixBlock : tail_end - position;
  return room - 1;
}

void SequenceChain::take_back(std::int64_t count) {
  if (count == 0) return;
  position -= count;
  tail->truncate(position);
}

EngineChoice::EngineChoice(int the_index, const GenerationTask& task, const Tokenizer& tokenizer)
    : index(the_index),
      tokens(task.prompt),
      sampler(seeded(task.sampling, the_index)),
      detokenizer(tokenizer, task.special),
      stop(task.stop) {}

std::int64_t EngineGroup::reserved() const {
  const auto whole = [](std::int64_t n) {
    return (n + kPrefixBlock - 1) / kPrefixBlock * kPrefixBlock;
  };
  return whole(prompt_size()) + task.choices * whole(task.max_tokens);
}

void EngineGroup::start(Model& model, PrefixTree& tree) {
  started = true;
  if (task.prompt_logprobs) {  // every position is wanted
    prompt_logprobs.resize(task.prompt.size() - 1);
    return;
  }
  // The last token goes through the model in any case: its output is the first step.
  const PrefixTree::Match match =
      tree.find(std::span<const TokenId>(task.prompt).first(task.prompt.size() - 1));
  if (match.node == nullptr) return;
  cached = match.tokens;
  prompt_chain.node = match.node;
  prompt_chain.position = match.tokens;
  // At once, so that the tree keeps what it continues.
  prompt_chain.tail = model.new_segment(match.node->segment, kPrefixBlock);
  prompt_chain.tail_end = match.tokens + kPrefixBlock;
}

void EngineGroup::begin_choices(const Tokenizer& tokenizer) {
  reading = false;
  if (task.choices > 1) prompt_chain.fork();
  for (int i = 0; i < task.choices; ++i) {
    choices.push_back(std::make_unique<EngineChoice>(i, task, tokenizer));
    choices.back()->chain = prompt_chain;
  }
  prompt_chain = {};
}

void EngineGroup::score_prompt(std::int64_t position, std::span<float> logits) {
  const auto at = static_cast<std::size_t>(position);
  try {
    check_finite(logits);
    log_softmax(logits, logits);
    prompt_logprobs[at] = describe_logprobs(logits, task.prompt[at + 1], task.top_logprobs);
  } catch (const std::exception& e) {
    // One of several threads at this group: which of several failures is told does not matter.
    failed.store(true);
  }
}

void EngineGroup::report_prompt() {
  if (finished) return;
  if (failed) return fail(GenerationFailure::kInternal, kNotFinite);
  task.sink->on_prompt({prompt_size(), cached, std::move(prompt_logprobs)});
  for (const auto& choice : choices) {
    if (finished) return;
    if (task.max_tokens == 0) {
      finish(*choice, FinishReason::kLength, {});
    } else {
      report(*choice);
    }
  }
}

StepLogprobs describe_logprobs(std::span<const float> logprobs, TokenId id, std::int64_t top) {
  StepLogprobs step;
  step.id = id;
  step.logprob = static_cast<double>(logprobs[static_cast<std::size_t>(id)]);
  if (top <= 0) return step;
  // A heap of the best so far, its worst in front.
  const auto better = [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  };
  auto& best = step.top;
  for (std::size_t i = 0; i < logprobs.size(); ++i) {
    const std::pair<TokenId, double> entry(static_cast<TokenId>(i),
                                           static_cast<double>(logprobs[i]));
    if (static_cast<std::int64_t>(best.size()) == top) {
      if (!better(entry, best.front())) continue;
      std::pop_heap(best.begin(), best.end(), better);
      best.pop_back();
    }
    best.push_back(entry);
    std::push_heap(best.begin(), best.end(), better);
  }
  std::sort(best.begin(), best.end(), better);
  return step;
}

bool EngineGroup::stops_at(TokenId id) const {
  const auto& stops = task.stop_tokens;
  return std::find(stops.begin(), stops.end(), id) != stops.end();
}

GenerationConstraint* EngineGroup::constraint_of(const EngineChoice& choice) const {
  if (task.constraints.empty()) return nullptr;
  return task.constraints[static_cast<std::size_t>(choice.index)].get();
}

void EngineGroup::draft(EngineChoice& choice, const DrafterOptions& options,
                        std::int64_t vocab_size, std::int64_t budget) const {
  if (!choice.drafter) choice.drafter.emplace(options);
  if (choice.drafter->unread(choice.tokens) > budget) {
    choice.drafter->read(choice.tokens, budget);
    return;
  }
  const DraftRequest request = {
      .history = choice.tokens,
      // Each pass makes one token more than it has guesses.
      .most = std::min(task.max_tokens - choice.generated, choice.chain.revocable()) - 1,
      .vocab_size = vocab_size,
      .sampler = &choice.sampler,
      .stop = task.stop_tokens};
  const std::span<const TokenId> draft = choice.drafter->draft(request);
  choice.draft.assign(draft.begin(), draft.end());
  choice.tokens.insert(choice.tokens.end(), draft.begin(), draft.end());
}

// True: the text goes on.
bool EngineGroup::sample_row(EngineChoice& choice, std::span<float> logits) const {
  check_finite(logits);
  GenerationConstraint* const constraint = constraint_of(choice);
  if (constraint != nullptr) constraint->mask(logits);
  EngineChoice::Choice chosen;
  chosen.id = choice.sampler.choose(logits, choice.tokens);
  if (task.logprobs) chosen.logprobs = describe_logprobs(logits, chosen.id, task.top_logprobs);
  const bool ends = stops_at(chosen.id);
  if (!ends && constraint != nullptr) {
    constraint->accept(chosen.id);
    chosen.whole = constraint->finished();
  }
  if (!ends) choice.tokens.push_back(chosen.id);
  choice.chosen.push_back(std::move(chosen));
  return !ends && !choice.chosen.back().whole;
}

void EngineGroup::sample(EngineChoice& choice, std::span<float> logits) const {
  if (task.max_tokens == 0) return;
  choice.tokens.resize(choice.tokens.size() - choice.draft.size());
  const std::size_t vocab = logits.size() / static_cast<std::size_t>(choice.rows());
  try {
    for (std::size_t row = 0; sample_row(choice, logits.subspan(row * vocab, vocab)); ++row) {
      if (row == choice.draft.size() || choice.chosen[row].id != choice.draft[row]) break;
    }
  } catch (const std::exception& e) {
    choice.failure = e.what();
  }
}

void EngineGroup::report(EngineChoice& choice) {
  const std::vector<EngineChoice::Choice> chosen = std::exchange(choice.chosen, {});
  const std::vector<TokenId> draft = std::exchange(choice.draft, {});
  if (!draft.empty()) {
    const auto right = std::mismatch(draft.begin(), draft.end(), chosen.begin(), chosen.end(),
                                     [](TokenId id, const auto& c) { return id == c.id; });
    const auto count = right.first - draft.begin();
    choice.drafter->judge(count);
    drafted += static_cast<std::int64_t>(draft.size());
    accepted += count;
    // Of the guesses that were wrong, and of those behind the end of the text.
    choice.chain.take_back(static_cast<std::int64_t>(draft.size()) - count);
  }
  for (const EngineChoice::Choice& one : chosen) {
    report_token(choice, one);
    if (choice.done) return;
  }
  if (!choice.failure.empty()) fail(GenerationFailure::kInternal, choice.failure);
}

void EngineGroup::report_token(EngineChoice& choice, const EngineChoice::Choice& chosen) {
  const StepLogprobs* const logprobs = chosen.logprobs ? &*chosen.logprobs : nullptr;
  if (stops_at(chosen.id)) {
    return finish(choice, FinishReason::kStop, choice.stop.push(choice.detokenizer.finish()),
                  logprobs);
  }
  ++choice.generated;
  ++made;
  std::string text = choice.stop.push(choice.detokenizer.push(chosen.id));
  const bool last = choice.generated >= task.max_tokens;
  task.sink->on_token({choice.index, chosen.id, std::move(text), logprobs});
  if (choice.stop.stopped()) return finish(choice, FinishReason::kStop, {});
  if (chosen.whole) {
    return finish(choice, FinishReason::kStop, choice.stop.push(choice.detokenizer.finish()));
  }
  if (last) {
    finish(choice, FinishReason::kLength, choice.stop.push(choice.detokenizer.finish()));
  }
}

void EngineGroup::finish(EngineChoice& choice, FinishReason reason, std::string text,
                         const StepLogprobs* stop_logprobs) {
  choice.done = true;
  // A stop string that the last bytes complete.
  if (choice.stop.stopped()) reason = FinishReason::kStop;
  text += choice.stop.finish();
  choice.chain = {};
  choice.drafter.reset();
  task.sink->on_finish({choice.index, reason, std::move(text), choice.generated, stop_logprobs});
  finished = std::all_of(choices.begin(), choices.end(), [](const auto& c) { return c->done; });
  if (finished) task.sink->on_all_finished();
}

void EngineGroup::fail(GenerationFailure failure, const std::string& message) {
  if (finished) return;
  finished = true;
  try {
    task.sink->on_failure(failure, message);
  } catch (const std::exception&) {
    // It had its last word. Nobody would catch this on the engine's thread.
  }
}

}  // namespace qx
