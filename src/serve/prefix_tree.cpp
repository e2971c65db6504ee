// SPDX-License-Identifier: Apache-2.0
#include "serve/prefix_tree.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace qx {

PrefixTree::PrefixTree(std::int64_t bytes_a_position, std::int64_t max_bytes)
    : block_bytes_(bytes_a_position * kPrefixBlock), max_bytes_(max_bytes) {}

PrefixTree::Match PrefixTree::find(std::span<const TokenId> tokens) {
  Match match;
  ++clock_;
  Children* level = &roots_;
  while (static_cast<std::int64_t>(tokens.size()) - match.tokens >= kPrefixBlock) {
    const auto block = tokens.subspan(static_cast<std::size_t>(match.tokens), kPrefixBlock);
    const auto it = level->find(std::vector<TokenId>(block.begin(), block.end()));
    if (it == level->end()) break;
    match.node = it->second.get();
    match.node->used = clock_;
    match.tokens += kPrefixBlock;
    level = &match.node->children;
  }
  return match;
}

PrefixTree::Node* PrefixTree::add(Node* parent, std::span<const TokenId> block,
                                  std::shared_ptr<KvSegment> segment) {
  QX_CHECK(static_cast<std::int64_t>(block.size()) == kPrefixBlock);
  Children& level = parent != nullptr ? parent->children : roots_;
  std::vector<TokenId> key(block.begin(), block.end());
  if (level.count(key) > 0) return nullptr;
  // The segment in hand holds its parent's, so that making room cannot take the parent.
  if (!make_room()) return nullptr;
  auto node = std::make_unique<Node>();
  node->segment = std::move(segment);
  node->parent = parent;
  node->used = ++clock_;
  bytes_ += block_bytes_;
  return (level[std::move(key)] = std::move(node)).get();
}

std::vector<PrefixTree::Entry> PrefixTree::entries() const {
  std::vector<Entry> out;
  collect(roots_, -1, out);
  return out;
}

void PrefixTree::collect(const Children& children, std::int64_t parent, std::vector<Entry>& out) {
  for (const auto& [tokens, node] : children) {
    out.push_back({parent, tokens, node.get()});
    collect(node->children, static_cast<std::int64_t>(out.size()) - 1, out);
  }
}

void PrefixTree::set_used(Node& node, std::uint64_t used) {
  node.used = used;
  clock_ = std::max(clock_, used);
}

bool PrefixTree::make_room() {
  while (bytes_ + block_bytes_ > max_bytes_) {
    Node* oldest = oldest_free(roots_);
    if (oldest == nullptr) return false;
    Children& level = oldest->parent != nullptr ? oldest->parent->children : roots_;
    for (auto it = level.begin(); it != level.end(); ++it) {
      if (it->second.get() != oldest) continue;
      level.erase(it);
      break;
    }
    bytes_ -= block_bytes_;
  }
  return true;
}

// A leaf whose segment the tree alone holds. Children's segments hold their parents', so a node
// that a live sequence continues is never free.
PrefixTree::Node* PrefixTree::oldest_free(Children& children) {
  Node* best = nullptr;
  for (auto& [key, node] : children) {
    Node* candidate = node->children.empty()
                          ? (node->segment.use_count() == 1 ? node.get() : nullptr)
                          : oldest_free(node->children);
    if (candidate != nullptr && (best == nullptr || candidate->used < best->used)) best = candidate;
  }
  return best;
}

}  // namespace qx
