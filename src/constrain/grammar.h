// A schema as a context-free grammar: texts (automata over bytes) put together by nodes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "constrain/byte_machine.h"
#include "constrain/json_machines.h"
#include "io/json.h"

namespace qx {

// An automaton of a grammar: a table, or a string whose characters are counted, which needs none.
class TextAutomaton {
 public:
  explicit TextAutomaton(ByteMachine table);
  // character: of any_string_character().
  TextAutomaton(std::shared_ptr<const ByteMachine> character, StringLength length);

  std::int64_t states() const { return states_; }
  std::int32_t start() const { return start_; }
  std::int32_t next(std::int32_t state, std::uint8_t byte) const {
    return counted_ ? next_counted(state, byte) : machine_->next(state, byte);
  }
  bool accepting(std::int32_t state) const {
    return counted_ ? state == kCountedEnd : machine_->accepting(state);
  }
  // Whether some byte may follow.
  bool goes_on(std::int32_t state) const;

 private:
  static constexpr std::int32_t kCountedStart = 0, kCountedEnd = 1, kCountedFirst = 2;
  std::int32_t next_counted(std::int32_t state, std::uint8_t byte) const;
  std::shared_ptr<const ByteMachine> machine_;  // the table, or that of one character
  bool counted_ = false;
  StringLength length_;
  std::int64_t states_ = 0;
  std::int32_t start_ = 0;
  std::vector<bool> goes_on_;  // of a table
};

struct GrammarNode {
  enum class Kind : std::uint8_t {
    kText,      // texts[text]
    kSequence,  // the children, in order
    kEither,    // one of the children; none: never
    kNest,      // the child, one level of JSON deeper
    kRepeat,    // the child, min to max times; it is never empty
  };
  Kind kind = Kind::kSequence;
  std::int32_t text = 0;
  std::vector<std::int32_t> children = {};
  std::int64_t min = 0, max = kNoLimit;
  // How many levels the shallowest text of this node has; over kMaxLevels: none.
  std::int32_t levels = 0;
};

// Objects and arrays in each other; deeper values are not generated, so that readers with a limit of their own
// can read them.
constexpr std::int32_t kMaxLevels = 64;

struct Grammar {
  std::vector<TextAutomaton> texts;
  std::vector<std::int32_t> first_state;  // by text: where its states begin in one common numbering
  std::vector<GrammarNode> nodes;
  std::int32_t root = 0;
  bool open_keys = false;  // some object has keys that the schema does not name
};

// Fails: Error naming the place in the schema and what is not supported, too large, or cannot be satisfied.
Grammar compile_schema(const Json& schema, std::string_view origin);

}  // namespace qx
