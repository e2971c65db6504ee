// Windows of a text through a model, pass by pass.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "distance/windows.h"
#include "model/model.h"

namespace qx {

// Part of a window in a pass: what the model reads at the text's positions [begin, end).
struct PassPiece {
  std::size_t window = 0;
  std::int64_t begin = 0, end = 0;
};

// One forward pass. Its outputs are the rows that predict `targets`, in the order of windows and in each
// from left to right; so the targets of all passes, one after the other, are those of all windows.
struct TextPass {
  std::vector<PassPiece> pieces;
  std::vector<std::int64_t> targets;  // positions in the text
  std::int64_t reads = 0;             // tokens that go through the model
};

constexpr std::int64_t kPassTokens = 1024;
std::vector<TextPass> plan_passes(std::span<const Window> windows, std::int64_t pass_tokens);

// Runs a plan's passes, in order, each once. Holds the keys and values of windows that are not done.
// Everything given must outlive it.
class PassRunner {
 public:
  PassRunner(Model& model, std::span<const TokenId> tokens, std::span<const Window> windows,
             TokenId bos);
  Hidden run(const TextPass& pass);  // one row a target; checks for an interrupt

 private:
  Model& model_;
  std::span<const TokenId> tokens_;
  std::span<const Window> windows_;
  TokenId bos_;
  std::map<std::size_t, std::shared_ptr<KvSegment>> open_;
};

}  // namespace qx
