// Keys and values of prompts and answers that were computed, kept for later prompts that begin
// alike: a tree of blocks of tokens, bounded in bytes, least recently used out first.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "model/model.h"

namespace qx {

// Tokens of a block: the grain in which prefixes are shared.
constexpr std::int64_t kPrefixBlock = 128;

// Threads: one at a time.
class PrefixTree {
 public:
  struct Node;
  using Children = std::map<std::vector<TokenId>, std::unique_ptr<Node>>;
  struct Node {
    std::shared_ptr<KvSegment> segment;  // of the block's positions; its parent is the parent's
    Node* parent = nullptr;
    Children children = {};
    std::uint64_t used = 0;
  };

  // max_bytes: of all blocks together; 0: nothing is kept.
  PrefixTree(std::int64_t bytes_a_position, std::int64_t max_bytes);

  // The longest run of whole blocks that `tokens` begins with: the last one, and how many tokens
  // they are. Null and 0 when there is none. The node stays while somebody holds a segment that
  // continues it.
  struct Match {
    Node* node = nullptr;
    std::int64_t tokens = 0;
  };
  Match find(std::span<const TokenId> tokens);

  // Adds a full block that continues `parent` (null: begins a sequence). Returns the node, or null
  // when an equal one is there already, or there is no room that nobody uses: the caller's segments
  // stay its own.
  Node* add(Node* parent, std::span<const TokenId> block, std::shared_ptr<KvSegment> segment);

  std::int64_t bytes() const { return bytes_; }
  bool full() const { return bytes_ + block_bytes_ > max_bytes_; }

  // All blocks, parents before their children. They stay until the next add().
  struct Entry {
    std::int64_t parent = -1;  // its place in the list
    std::span<const TokenId> tokens;
    const Node* node = nullptr;
  };
  std::vector<Entry> entries() const;
  // As if the node had been used then; later uses are later than all that were set so.
  void set_used(Node& node, std::uint64_t used);

 private:
  bool make_room();
  Node* oldest_free(Children& children);
  static void collect(const Children& children, std::int64_t parent, std::vector<Entry>& out);

  const std::int64_t block_bytes_, max_bytes_;
  std::int64_t bytes_ = 0;
  std::uint64_t clock_ = 0;
  Children roots_;
};

}  // namespace qx
