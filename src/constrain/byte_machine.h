// Finite automata over bytes: built as nondeterministic fragments, used as tables.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace qx {

constexpr std::int32_t kNoState = -1;

// A deterministic automaton whose every state can still reach an accepting one. Threads: shared.
class ByteMachine {
 public:
  std::int32_t start() const { return start_; }
  std::int32_t states() const { return static_cast<std::int32_t>(accepting_.size()); }
  // kNoState: the byte may not come here.
  std::int32_t next(std::int32_t state, std::uint8_t byte) const {
    return next_[static_cast<std::size_t>(state) * class_count_ + class_of_[byte]];
  }
  bool accepting(std::int32_t state) const { return accepting_[static_cast<std::size_t>(state)]; }
  bool accepts(std::string_view text) const;
  bool empty() const { return start_ == kNoState; }  // true only for results that say so

 private:
  friend class MachineBuilder;
  std::int32_t start_ = kNoState;
  std::size_t class_count_ = 1;  // bytes that no state tells apart share a column
  std::array<std::uint8_t, 256> class_of_{};
  std::vector<std::int32_t> next_;
  std::vector<bool> accepting_;
};

// How many states one machine may have; more is an Error whose place is given.
constexpr std::int32_t kMaxMachineStates = 20'000;

// A code point range, both ends inclusive.
struct CodePointRange {
  char32_t first, last;
};

// Thompson's construction (Thompson: "Regular expression search algorithm", 1968): every fragment has one
// entry and one exit, and may be used once.
class Fragments {
 public:
  struct Part {
    std::int32_t entry, exit;
  };
  explicit Fragments(std::string_view place) : place_(place) {}

  Part nothing();  // the empty text
  Part never();    // no text
  Part byte_range(std::uint8_t first, std::uint8_t last);
  Part literal(std::string_view bytes);
  Part sequence(std::span<const Part> parts);
  Part sequence(Part a, Part b);
  Part either(std::span<const Part> parts);
  Part optional(Part part);
  Part star(Part part);
  // UTF-8 of the code points of a range; surrogates are left out.
  Part utf8(CodePointRange range);

  // States and edges of one's own, for what is easier said as a table.
  std::int32_t add_state();
  void add_edge(std::int32_t from, std::uint8_t first, std::uint8_t last, std::int32_t to);
  void add_jump(std::int32_t from, std::int32_t to);  // takes no byte

  // The subset construction, without states that lead nowhere. May be empty().
  ByteMachine machine(Part part) const;

 private:
  struct Edge {
    std::uint8_t first, last;
    std::int32_t to;
  };
  struct State {
    std::vector<Edge> edges;
    std::vector<std::int32_t> jumps;
  };
  void utf8_of_length(CodePointRange range, int length, std::vector<Part>& choices);
  void close(std::vector<std::int32_t>& states, std::vector<std::uint32_t>& seen,
             std::uint32_t mark) const;
  std::string_view place_;
  std::vector<State> states_;
};

// Texts that both accept, or that the first accepts and the second does not. May be empty(). Fails: Error
// with the place when it has over kMaxMachineStates states.
ByteMachine intersection(const ByteMachine& a, const ByteMachine& b, std::string_view place);
ByteMachine difference(const ByteMachine& a, const ByteMachine& b, std::string_view place);

}  // namespace qx
