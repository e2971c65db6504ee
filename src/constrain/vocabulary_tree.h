// What VocabularyTree (token_constraint.h) holds.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "constrain/token_constraint.h"

namespace qx {

// Nodes in the order in which a walk meets them (parents before children, children by byte), so that a subtree
// is a range: from a node to its end. Node 0 is the root, without a byte.
struct VocabularyTree::Impl {
  struct Node {
    std::int32_t end;          // one past the last node of this subtree
    std::int32_t first_token;  // into tokens; up to the next node's
    std::uint16_t depth;       // bytes from the root
    std::uint8_t byte;
  };
  std::vector<Node> nodes;          // and one more behind the last
  std::vector<TokenId> tokens;      // by node
  std::vector<std::string> bytes;   // by id; "" for what is left out
  std::vector<TokenId> with_quote;  // tokens that hold a '"'
  std::size_t vocab_size = 0;

  std::int32_t node_count() const { return static_cast<std::int32_t>(nodes.size()) - 1; }
};

}  // namespace qx
