// Where a reader of a grammar's texts can be, byte by byte. A state is a set of pairs: a place inside one of
// the texts and what has to come behind it. Sets with the same place are joined (their continuations become one
// union), so that a set never has more pairs than the grammar has places, however ambiguous it is: the sharing
// of Tomita's graph-structured stack ("An efficient augmented-context-free parsing algorithm", 1987).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "constrain/grammar.h"

namespace qx {

using WalkState = std::int32_t;
using Continuation = std::int32_t;  // what comes later; 0: nothing

class GrammarStates {
 public:
  explicit GrammarStates(Grammar grammar);
  const Grammar& grammar() const { return grammar_; }

  struct Pair {
    std::int32_t place;  // a text's first_state + the state in it
    Continuation then;
    auto operator<=>(const Pair&) const = default;
  };
  struct Set {
    std::vector<Pair> pairs;  // rising, each place once
    bool complete = false;    // a whole text of the grammar may end here
    bool operator==(const Set&) const = default;
  };

  WalkState start() { return state_before(begin_); }
  // kNoState: the byte may not come here.
  WalkState next(WalkState state, std::uint8_t byte);
  const Set& set(WalkState state) const { return *sets_[static_cast<std::size_t>(state)]; }
  // Where a reader is before what a continuation says.
  WalkState state_before(Continuation then);
  // The text that a place is in, and its state there.
  std::pair<const TextAutomaton*, std::int32_t> text_at(std::int32_t place) const;

 private:
  // Something to come and what comes behind it.
  struct Step {
    enum class Kind : std::uint8_t { kNode, kTimes, kUnion } kind;
    std::int32_t node = 0;
    std::int32_t levels = 0;        // how much deeper values may nest in it
    std::int64_t min = 0, max = 0;  // kTimes: repetitions to come of the node's child
    Continuation then = 0;
    std::vector<Continuation> choices = {};  // kUnion
    auto operator<=>(const Step&) const = default;
  };
  struct SetHash {
    std::size_t operator()(const Set* set) const;
  };
  struct SetEqual {
    bool operator()(const Set* a, const Set* b) const { return *a == *b; }
  };
  Continuation intern(Step step);
  Continuation join(Continuation a, Continuation b);
  WalkState intern(Set set);
  const Set& before(Continuation then);
  void expand(const Step& step, Set& out);
  void expand_node(std::int32_t node, std::int32_t levels, Continuation then, Set& out);
  void merge(const Set& from, Set& into);
  void settle(Set& set);

  struct CachedStep {
    WalkState from = kNoState;
    std::int32_t byte = 0;
    WalkState to = kNoState;
  };

  Grammar grammar_;
  Continuation begin_ = 0;
  std::map<Step, Continuation> step_ids_;
  std::vector<const Step*> steps_;                // by continuation; 0 is null
  std::unordered_map<Continuation, Set> before_;  // what may come first
  std::unordered_map<const Set*, WalkState, SetHash, SetEqual> set_ids_;
  std::vector<std::unique_ptr<const Set>> sets_;
  std::unordered_map<Continuation, WalkState> state_before_;
  std::vector<CachedStep> cache_;  // of next(), one entry a slot
};

}  // namespace qx
