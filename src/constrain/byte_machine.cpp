// SPDX-License-Identifier: Apache-2.0
#include "constrain/byte_machine.h"

#include <algorithm>
#include <map>

#include "base/error.h"

namespace qx {

// Collects the states of a table, then drops those from which nothing is accepted.
class MachineBuilder {
 public:
  // bounds: bytes at which some edge begins, or one behind its end.
  MachineBuilder(const std::array<bool, 257>& bounds, std::string_view place) : place_(place) {
    std::uint8_t column = 0;
    for (std::size_t b = 0; b < 256; ++b) {
      if (b > 0 && bounds[b]) ++column;
      machine_.class_of_[b] = column;
      if (b == 0 || bounds[b]) first_bytes_.push_back(static_cast<std::uint8_t>(b));
    }
    machine_.class_count_ = first_bytes_.size();
  }
  // One byte of each column.
  const std::vector<std::uint8_t>& first_bytes() const { return first_bytes_; }
  void add_state(bool accepting) {
    if (machine_.accepting_.size() >= static_cast<std::size_t>(kMaxMachineStates)) {
      fail(place_, "got a text pattern of over {} states, expected a simpler one",
           kMaxMachineStates);
    }
    machine_.accepting_.push_back(accepting);
    machine_.next_.resize(machine_.next_.size() + machine_.class_count_, kNoState);
  }
  void set_next(std::int32_t state, std::size_t column, std::int32_t next) {
    machine_.next_[static_cast<std::size_t>(state) * machine_.class_count_ + column] = next;
  }
  // State 0 is the start.
  ByteMachine finish();
  static ByteMachine product(const ByteMachine& a, const ByteMachine& b, bool subtract,
                             std::string_view place);

 private:
  std::vector<bool> useful_states() const;
  std::string_view place_;
  ByteMachine machine_;
  std::vector<std::uint8_t> first_bytes_;
};

std::vector<bool> MachineBuilder::useful_states() const {
  const std::size_t count = machine_.accepting_.size();
  std::vector<std::vector<std::int32_t>> before(count);
  std::vector<std::int32_t> open;
  std::vector<bool> useful(count, false);
  for (std::size_t s = 0; s < count; ++s) {
    for (std::size_t c = 0; c < machine_.class_count_; ++c) {
      const std::int32_t to = machine_.next_[s * machine_.class_count_ + c];
      if (to != kNoState) {
        before[static_cast<std::size_t>(to)].push_back(static_cast<std::int32_t>(s));
      }
    }
    if (machine_.accepting_[s]) {
      useful[s] = true;
      open.push_back(static_cast<std::int32_t>(s));
    }
  }
  while (!open.empty()) {
    const auto s = static_cast<std::size_t>(open.back());
    open.pop_back();
    for (const std::int32_t from : before[s]) {
      if (useful[static_cast<std::size_t>(from)]) continue;
      useful[static_cast<std::size_t>(from)] = true;
      open.push_back(from);
    }
  }
  return useful;
}

ByteMachine MachineBuilder::finish() {
  const std::vector<bool> useful = useful_states();
  const std::size_t columns = machine_.class_count_;
  std::vector<std::int32_t> renamed(useful.size(), kNoState);
  std::int32_t kept = 0;
  for (std::size_t s = 0; s < useful.size(); ++s) {
    if (useful[s]) renamed[s] = kept++;
  }
  ByteMachine out;
  out.class_count_ = columns;
  out.class_of_ = machine_.class_of_;
  out.start_ = renamed.empty() ? kNoState : renamed[0];
  if (out.empty()) return out;
  for (std::size_t s = 0; s < useful.size(); ++s) {
    if (!useful[s]) continue;
    out.accepting_.push_back(machine_.accepting_[s]);
    for (std::size_t c = 0; c < columns; ++c) {
      const std::int32_t to = machine_.next_[s * columns + c];
      out.next_.push_back(to == kNoState ? kNoState : renamed[static_cast<std::size_t>(to)]);
    }
  }
  return out;
}

bool ByteMachine::accepts(std::string_view text) const {
  std::int32_t state = start_;
  for (const char c : text) {
    if (state == kNoState) return false;
    state = next(state, static_cast<std::uint8_t>(c));
  }
  return state != kNoState && accepting(state);
}

std::int32_t Fragments::add_state() {
  if (states_.size() >= static_cast<std::size_t>(kMaxMachineStates) * 16) {
    fail(place_, "got a text pattern that is too large, expected a simpler one");
  }
  states_.emplace_back();
  return static_cast<std::int32_t>(states_.size() - 1);
}

void Fragments::add_edge(std::int32_t from, std::uint8_t first, std::uint8_t last,
                         std::int32_t to) {
  states_[static_cast<std::size_t>(from)].edges.push_back({first, last, to});
}

void Fragments::add_jump(std::int32_t from, std::int32_t to) {
  states_[static_cast<std::size_t>(from)].jumps.push_back(to);
}

Fragments::Part Fragments::nothing() {
  const std::int32_t state = add_state();
  return {state, state};
}

Fragments::Part Fragments::never() {
  const std::int32_t entry = add_state();
  return {entry, add_state()};
}

Fragments::Part Fragments::byte_range(std::uint8_t first, std::uint8_t last) {
  const Part part{add_state(), add_state()};
  add_edge(part.entry, first, last, part.exit);
  return part;
}

Fragments::Part Fragments::literal(std::string_view bytes) {
  Part part = nothing();
  for (const char c : bytes) {
    const std::int32_t to = add_state();
    add_edge(part.exit, static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c), to);
    part.exit = to;
  }
  return part;
}

Fragments::Part Fragments::sequence(std::span<const Part> parts) {
  if (parts.empty()) return nothing();
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) add_jump(parts[i].exit, parts[i + 1].entry);
  return {parts.front().entry, parts.back().exit};
}

Fragments::Part Fragments::sequence(Part a, Part b) {
  const Part both[] = {a, b};
  return sequence(both);
}

Fragments::Part Fragments::either(std::span<const Part> parts) {
  const Part out{add_state(), add_state()};
  for (const Part& p : parts) {
    add_jump(out.entry, p.entry);
    add_jump(p.exit, out.exit);
  }
  return out;
}

Fragments::Part Fragments::optional(Part part) {
  const Part choices[] = {part, nothing()};
  return either(choices);
}

Fragments::Part Fragments::star(Part part) {
  const Part out{add_state(), add_state()};
  add_jump(out.entry, part.entry);
  add_jump(out.entry, out.exit);
  add_jump(part.exit, part.entry);
  add_jump(part.exit, out.exit);
  return out;
}

// One chain of byte ranges per block of code points whose last continuation bytes run through all values, with
// the lengths of the Unicode Standard's table 3-6.
void Fragments::utf8_of_length(CodePointRange range, int length, std::vector<Part>& choices) {
  const auto encode = [length](char32_t c, int index) {
    static constexpr std::uint8_t kLead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    if (length == 1) return static_cast<std::uint8_t>(c);
    const int shift = 6 * (length - 1 - index);
    return static_cast<std::uint8_t>(index == 0 ? kLead[length] | (c >> shift)
                                                : 0x80 | ((c >> shift) & 0x3F));
  };
  for (char32_t at = range.first; at <= range.last;) {
    int free = 0;  // continuation bytes that take every value
    while (free < length - 1) {
      const char32_t larger = char32_t{1} << (6 * (free + 1));
      if (at % larger != 0 || range.last - at < larger - 1) break;
      ++free;
    }
    const char32_t block = char32_t{1} << (6 * free);
    // As many blocks as differ in one byte only.
    const char32_t limit =
        free < length - 1 ? std::min<char32_t>(range.last, at | ((block << 6) - 1)) : range.last;
    const char32_t last = at + (limit - at + 1) / block * block - 1;
    std::vector<Part> bytes;
    for (int i = 0; i < length; ++i) bytes.push_back(byte_range(encode(at, i), encode(last, i)));
    choices.push_back(sequence(bytes));
    at = last + 1;
  }
}

Fragments::Part Fragments::utf8(CodePointRange range) {
  struct Row {
    char32_t first, last;
    int length;
  };
  static constexpr Row kRows[] = {{0, 0x7F, 1},
                                  {0x80, 0x7FF, 2},
                                  {0x800, 0xD7FF, 3},
                                  {0xE000, 0xFFFF, 3},
                                  {0x10000, 0x10FFFF, 4}};
  std::vector<Part> choices;
  for (const Row& row : kRows) {
    const CodePointRange part{std::max(range.first, row.first), std::min(range.last, row.last)};
    if (part.first <= part.last) utf8_of_length(part, row.length, choices);
  }
  return choices.empty() ? never() : either(choices);
}

void Fragments::close(std::vector<std::int32_t>& states, std::vector<std::uint32_t>& seen,
                      std::uint32_t mark) const {
  for (const std::int32_t s : states) seen[static_cast<std::size_t>(s)] = mark;
  for (std::size_t i = 0; i < states.size(); ++i) {
    for (const std::int32_t to : states_[static_cast<std::size_t>(states[i])].jumps) {
      if (seen[static_cast<std::size_t>(to)] == mark) continue;
      seen[static_cast<std::size_t>(to)] = mark;
      states.push_back(to);
    }
  }
  std::sort(states.begin(), states.end());
}

ByteMachine Fragments::machine(Part part) const {
  std::array<bool, 257> bounds{};
  for (const State& s : states_) {
    for (const Edge& e : s.edges) {
      bounds[e.first] = true;
      bounds[std::size_t{e.last} + 1] = true;
    }
  }
  MachineBuilder builder(bounds, place_);
  std::map<std::vector<std::int32_t>, std::int32_t> known;
  std::vector<const std::vector<std::int32_t>*> sets;
  std::vector<std::uint32_t> seen(states_.size(), 0);
  std::uint32_t mark = 0;
  std::size_t work = 0;
  const auto find = [&](std::vector<std::int32_t> set) {
    close(set, seen, ++mark);
    work += set.size();
    if (work > std::size_t{50'000'000}) {
      fail(place_, "got a text pattern that takes too long to prepare, expected a simpler one");
    }
    const auto [at, fresh] = known.emplace(std::move(set), static_cast<std::int32_t>(known.size()));
    if (fresh) {
      sets.push_back(&at->first);
      builder.add_state(std::binary_search(at->first.begin(), at->first.end(), part.exit));
    }
    return at->second;
  };
  find({part.entry});
  for (std::size_t s = 0; s < sets.size(); ++s) {
    for (std::size_t c = 0; c < builder.first_bytes().size(); ++c) {
      const std::uint8_t byte = builder.first_bytes()[c];
      std::vector<std::int32_t> reached;
      ++mark;
      for (const std::int32_t from : *sets[s]) {
        for (const Edge& e : states_[static_cast<std::size_t>(from)].edges) {
          if (byte < e.first || byte > e.last) continue;
          std::uint32_t& m = seen[static_cast<std::size_t>(e.to)];
          if (m != mark) reached.push_back(e.to);
          m = mark;
        }
      }
      if (!reached.empty()) {
        builder.set_next(static_cast<std::int32_t>(s), c, find(std::move(reached)));
      }
    }
  }
  return builder.finish();
}

// Walks both at once. In a difference the second may have fallen out (kNoState).
ByteMachine MachineBuilder::product(const ByteMachine& a, const ByteMachine& b, bool subtract,
                                    std::string_view place) {
  if (a.empty() || (b.empty() && !subtract)) return {};
  std::array<bool, 257> bounds{};
  for (std::size_t i = 1; i < 256; ++i) {
    bounds[i] = a.class_of_[i] != a.class_of_[i - 1] || b.class_of_[i] != b.class_of_[i - 1];
  }
  MachineBuilder builder(bounds, place);
  std::map<std::pair<std::int32_t, std::int32_t>, std::int32_t> known;
  std::vector<std::pair<std::int32_t, std::int32_t>> pairs;
  const auto find = [&](std::int32_t x, std::int32_t y) {
    const auto [at, fresh] =
        known.emplace(std::pair(x, y), static_cast<std::int32_t>(known.size()));
    if (fresh) {
      pairs.emplace_back(x, y);
      const bool in_b = y != kNoState && b.accepting(y);
      builder.add_state(a.accepting(x) && in_b != subtract);
    }
    return at->second;
  };
  find(a.start(), b.start());
  for (std::size_t s = 0; s < pairs.size(); ++s) {
    const auto [x, y] = pairs[s];
    for (std::size_t column = 0; column < builder.first_bytes().size(); ++column) {
      const std::uint8_t byte = builder.first_bytes()[column];
      const std::int32_t to_x = a.next(x, byte);
      const std::int32_t to_y = y == kNoState ? kNoState : b.next(y, byte);
      if (to_x == kNoState || (to_y == kNoState && !subtract)) continue;
      builder.set_next(static_cast<std::int32_t>(s), column, find(to_x, to_y));
    }
  }
  return builder.finish();
}

ByteMachine intersection(const ByteMachine& a, const ByteMachine& b, std::string_view place) {
  return MachineBuilder::product(a, b, false, place);
}

ByteMachine difference(const ByteMachine& a, const ByteMachine& b, std::string_view place) {
  return MachineBuilder::product(a, b, true, place);
}

}  // namespace qx
