// SPDX-License-Identifier: Apache-2.0
#include "constrain/grammar.h"

#include <algorithm>
#include <utility>

namespace qx {

TextAutomaton::TextAutomaton(ByteMachine table)
    : machine_(std::make_shared<const ByteMachine>(std::move(table))),
      states_(machine_->states()),
      start_(machine_->start()),
      goes_on_(static_cast<std::size_t>(states_), false) {
  for (std::int32_t s = 0; s < machine_->states(); ++s) {
    for (int byte = 0; byte < 256; ++byte) {
      if (machine_->next(s, static_cast<std::uint8_t>(byte)) == kNoState) continue;
      goes_on_[static_cast<std::size_t>(s)] = true;
      break;
    }
  }
}

// States behind the first two: the characters so far times the states of one character.
TextAutomaton::TextAutomaton(std::shared_ptr<const ByteMachine> character, StringLength length)
    : machine_(std::move(character)), counted_(true), length_(length) {
  const std::int64_t counts = (length.max == kNoLimit ? length.min : length.max) + 1;
  states_ = kCountedFirst + counts * machine_->states();
  start_ = kCountedStart;
}

bool TextAutomaton::goes_on(std::int32_t state) const {
  return counted_ ? state != kCountedEnd : goes_on_[static_cast<std::size_t>(state)];
}

std::int32_t TextAutomaton::next_counted(std::int32_t state, std::uint8_t byte) const {
  const std::int32_t between = machine_->start();
  if (state < kCountedFirst) {
    return state == kCountedStart && byte == '"' ? kCountedFirst + between : kNoState;
  }
  const std::int32_t own = machine_->states();
  std::int64_t count = (state - kCountedFirst) / own;
  std::int32_t inner = (state - kCountedFirst) % own;
  if (inner == between) {
    if (byte == '"') return count >= length_.min ? kCountedEnd : kNoState;
    if (length_.max != kNoLimit && count >= length_.max) return kNoState;
  }
  inner = machine_->next(inner, byte);
  if (inner == kNoState) return kNoState;
  if (machine_->accepting(inner)) {
    inner = between;
    // Without an upper limit only the lower one has to be counted to.
    count = length_.max == kNoLimit ? std::min(count + 1, length_.min) : count + 1;
  }
  return static_cast<std::int32_t>(kCountedFirst + count * own + inner);
}

}  // namespace qx
