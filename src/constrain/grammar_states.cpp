// SPDX-License-Identifier: Apache-2.0
#include "constrain/grammar_states.h"

#include <algorithm>

#include "base/error.h"

namespace qx {
namespace {

constexpr std::size_t kCacheSlots = std::size_t{1} << 16;

std::size_t mix(std::size_t hash, std::uint64_t value) {
  std::uint64_t x = hash ^ (value + 0x9E3779B97F4A7C15ull + (hash << 6) + (hash >> 2));
  x *= 0xBF58476D1CE4E5B9ull;
  return static_cast<std::size_t>(x ^ (x >> 31));
}

}  // namespace

std::size_t GrammarStates::SetHash::operator()(const Set* set) const {
  std::size_t hash = set->complete ? 1 : 0;
  for (const Pair& p : set->pairs) {
    hash = mix(hash, static_cast<std::uint32_t>(p.place));
    hash = mix(hash, static_cast<std::uint32_t>(p.then));
  }
  return hash;
}

GrammarStates::GrammarStates(Grammar grammar) : grammar_(std::move(grammar)), cache_(kCacheSlots) {
  steps_.push_back(nullptr);
  Step root{Step::Kind::kNode, grammar_.root, kMaxLevels};
  begin_ = intern(std::move(root));
}

std::pair<const TextAutomaton*, std::int32_t> GrammarStates::text_at(std::int32_t place) const {
  const auto after =
      std::upper_bound(grammar_.first_state.begin(), grammar_.first_state.end(), place);
  const auto index = static_cast<std::size_t>(after - grammar_.first_state.begin()) - 1;
  return {&grammar_.texts[index], place - grammar_.first_state[index]};
}

Continuation GrammarStates::intern(Step step) {
  const auto [at, fresh] =
      step_ids_.emplace(std::move(step), static_cast<Continuation>(steps_.size()));
  if (fresh) steps_.push_back(&at->first);
  return at->second;
}

// Both continuations, as one. A union holds no unions, and no two steps that differ only in what
// comes behind them: those are one step, with the union behind it. Without that, texts nested in
// two ways would double the steps at each level.
Continuation GrammarStates::join(Continuation a, Continuation b) {
  if (a == b) return a;
  Step out{Step::Kind::kUnion};
  const auto add = [&](Continuation c) {
    const Step* step = steps_[static_cast<std::size_t>(c)];
    for (Continuation& other : out.choices) {
      const Step* known = steps_[static_cast<std::size_t>(other)];
      if (step == nullptr || known == nullptr) continue;
      Step both = *known;
      both.then = step->then;
      if (both != *step) continue;
      both.then = join(known->then, step->then);
      other = intern(std::move(both));
      return;
    }
    out.choices.push_back(c);
  };
  for (const Continuation c : {a, b}) {
    const Step* step = steps_[static_cast<std::size_t>(c)];
    if (step == nullptr || step->kind != Step::Kind::kUnion) {
      add(c);
    } else {
      for (const Continuation choice : step->choices) add(choice);
    }
  }
  std::sort(out.choices.begin(), out.choices.end());
  out.choices.erase(std::unique(out.choices.begin(), out.choices.end()), out.choices.end());
  return out.choices.size() == 1 ? out.choices.front() : intern(std::move(out));
}

WalkState GrammarStates::intern(Set set) {
  const auto known = set_ids_.find(&set);
  if (known != set_ids_.end()) return known->second;
  sets_.push_back(std::make_unique<const Set>(std::move(set)));
  const auto id = static_cast<WalkState>(sets_.size() - 1);
  set_ids_.emplace(sets_.back().get(), id);
  return id;
}

void GrammarStates::merge(const Set& from, Set& into) {
  into.pairs.insert(into.pairs.end(), from.pairs.begin(), from.pairs.end());
  into.complete = into.complete || from.complete;
}

// Sorts the pairs, and makes one of those at the same place.
void GrammarStates::settle(Set& set) {
  std::sort(set.pairs.begin(), set.pairs.end());
  std::size_t kept = 0;
  for (std::size_t i = 0; i < set.pairs.size(); ++i) {
    if (kept > 0 && set.pairs[kept - 1].place == set.pairs[i].place) {
      set.pairs[kept - 1].then = join(set.pairs[kept - 1].then, set.pairs[i].then);
    } else {
      set.pairs[kept++] = set.pairs[i];
    }
  }
  set.pairs.resize(kept);
}

const GrammarStates::Set& GrammarStates::before(Continuation then) {
  if (const auto known = before_.find(then); known != before_.end()) return known->second;
  Set out;
  if (then == 0) {
    out.complete = true;
  } else {
    // A copy: what is interned on the way may not move the step, but may not be relied on either.
    const Step step = *steps_[static_cast<std::size_t>(then)];
    expand(step, out);
    settle(out);
  }
  return before_.emplace(then, std::move(out)).first->second;
}

void GrammarStates::expand(const Step& step, Set& out) {
  switch (step.kind) {
    case Step::Kind::kUnion:
      for (const Continuation c : step.choices) merge(before(c), out);
      return;
    case Step::Kind::kNode:
      return expand_node(step.node, step.levels, step.then, out);
    case Step::Kind::kTimes:
      break;
  }
  if (step.min == 0) merge(before(step.then), out);
  const std::int32_t child = grammar_.nodes[static_cast<std::size_t>(step.node)].children[0];
  if (step.max == 0 || grammar_.nodes[static_cast<std::size_t>(child)].levels > step.levels) return;
  Step rest = step;
  if (rest.min > 0) --rest.min;
  if (rest.max != kNoLimit) --rest.max;
  expand_node(child, step.levels, intern(std::move(rest)), out);
}

void GrammarStates::expand_node(std::int32_t id, std::int32_t levels, Continuation then, Set& out) {
  using Kind = GrammarNode::Kind;
  const GrammarNode& node = grammar_.nodes[static_cast<std::size_t>(id)];
  switch (node.kind) {
    case Kind::kText: {
      const auto index = static_cast<std::size_t>(node.text);
      const TextAutomaton& text = grammar_.texts[index];
      if (text.goes_on(text.start())) {
        out.pairs.push_back({grammar_.first_state[index] + text.start(), then});
      }
      if (text.accepting(text.start())) merge(before(then), out);
      return;
    }
    case Kind::kSequence: {
      if (node.children.empty()) return merge(before(then), out);
      for (std::size_t i = node.children.size() - 1; i > 0; --i) {
        then = intern(Step{Step::Kind::kNode, node.children[i], levels, 0, 0, then});
      }
      return expand_node(node.children[0], levels, then, out);
    }
    case Kind::kEither:
      for (const std::int32_t child : node.children) {
        // Only what can end within the levels that are left is begun.
        if (grammar_.nodes[static_cast<std::size_t>(child)].levels > levels) continue;
        expand_node(child, levels, then, out);
      }
      return;
    case Kind::kNest:
      return expand_node(node.children[0], levels - 1, then, out);
    case Kind::kRepeat:
      return merge(before(intern(Step{Step::Kind::kTimes, id, levels, node.min, node.max, then})),
                   out);
  }
}

WalkState GrammarStates::state_before(Continuation then) {
  if (const auto known = state_before_.find(then); known != state_before_.end()) {
    return known->second;
  }
  const WalkState state = intern(Set(before(then)));
  state_before_.emplace(then, state);
  return state;
}

WalkState GrammarStates::next(WalkState state, std::uint8_t byte) {
  CachedStep& cached = cache_[mix(static_cast<std::uint32_t>(state), byte) & (kCacheSlots - 1)];
  if (cached.from == state && cached.byte == byte) return cached.to;
  Set out;
  const Set& from = set(state);
  for (const Pair& pair : from.pairs) {
    const auto [text, inner] = text_at(pair.place);
    const std::int32_t to = text->next(inner, byte);
    if (to == kNoState) continue;
    if (text->goes_on(to)) out.pairs.push_back({pair.place - inner + to, pair.then});
    if (text->accepting(to)) merge(before(pair.then), out);
  }
  WalkState result = kNoState;
  if (!out.pairs.empty() || out.complete) {
    settle(out);
    result = intern(std::move(out));
  }
  cached = {state, byte, result};
  return result;
}

}  // namespace qx
