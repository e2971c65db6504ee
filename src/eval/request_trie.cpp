// Building and walking the forest of requested tokens.
// SPDX-License-Identifier: Apache-2.0
#include "eval/request_trie.h"

#include <algorithm>
#include <tuple>

#include "base/error.h"

namespace qx {
namespace {

std::size_t common_prefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  const auto [stop, other] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<std::size_t>(stop - a.begin());
}

}  // namespace

RequestTrie::RequestTrie(std::span<const ScoreRequest> requests, std::int64_t min_shared) {
  sequences_.resize(requests.size());
  std::vector<std::int32_t> leaves(requests.size(), -1);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const EncodedPair& pair = requests[i].pair;
    if (pair.dropped) continue;
    QX_CHECK(!pair.context.empty() && !pair.continuation.empty());
    std::vector<TokenId>& sequence = sequences_[i];
    sequence = pair.context;
    sequence.insert(sequence.end(), pair.continuation.begin(), pair.continuation.end() - 1);
    leaves[i] = insert(sequence, requests[i].group, min_shared);
  }
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (leaves[i] >= 0) add_targets(i, requests[i].pair, leaves[i]);
  }
  for (Node& node : nodes_) {
    std::sort(node.targets.begin(), node.targets.end(), [](const Target& a, const Target& b) {
      return std::tie(a.offset, a.token, a.request) < std::tie(b.offset, b.token, b.request);
    });
  }
}

std::int32_t RequestTrie::add_node(std::int32_t parent, std::span<const TokenId> tokens,
                                   std::int64_t group) {
  const auto id = static_cast<std::int32_t>(nodes_.size());
  nodes_.push_back({parent, tokens, {}, {}, group});
  (parent < 0 ? roots_ : nodes_[static_cast<std::size_t>(parent)].children).push_back(id);
  return id;
}

// The first `at` tokens move into a new node between the node and its parent. The node keeps its
// end, so that what was known to end at it still does.
std::int32_t RequestTrie::split(std::int32_t node, std::size_t at) {
  const auto upper = static_cast<std::int32_t>(nodes_.size());
  Node& lower = nodes_[static_cast<std::size_t>(node)];
  Node head{lower.parent, lower.tokens.first(at), {node}, {}, lower.group};
  std::vector<std::int32_t>& siblings =
      lower.parent < 0 ? roots_ : nodes_[static_cast<std::size_t>(lower.parent)].children;
  *std::find(siblings.begin(), siblings.end(), node) = upper;
  lower.tokens = lower.tokens.subspan(at);
  lower.parent = upper;
  nodes_.push_back(std::move(head));
  return upper;
}

std::int32_t RequestTrie::insert(std::span<const TokenId> sequence, std::int64_t group,
                                 std::int64_t min_shared) {
  std::int32_t at = -1;
  while (!sequence.empty()) {
    const std::vector<std::int32_t>& children =
        at < 0 ? roots_ : nodes_[static_cast<std::size_t>(at)].children;
    std::int32_t best = -1;
    std::size_t best_common = 0;
    for (const std::int32_t child : children) {
      const Node& candidate = nodes_[static_cast<std::size_t>(child)];
      const std::size_t common = common_prefix(candidate.tokens, sequence);
      const bool worth_it = common == candidate.tokens.size() || candidate.group == group ||
                            static_cast<std::int64_t>(common) >= min_shared;
      if (common > best_common && worth_it) {
        best = child;
        best_common = common;
      }
    }
    if (best < 0) return add_node(at, sequence, group);
    const bool whole = best_common == nodes_[static_cast<std::size_t>(best)].tokens.size();
    at = whole ? best : split(best, best_common);
    sequence = sequence.subspan(best_common);
  }
  return at;
}

void RequestTrie::add_targets(std::size_t request, const EncodedPair& pair, std::int32_t leaf) {
  // Walks from the end of the sequence to its beginning; position p of the sequence predicts the
  // continuation's token p + 1 - context.
  auto end = static_cast<std::int64_t>(sequences_[request].size());
  const auto context = static_cast<std::int64_t>(pair.context.size());
  for (std::int32_t id = leaf; id >= 0; id = nodes_[static_cast<std::size_t>(id)].parent) {
    Node& node = nodes_[static_cast<std::size_t>(id)];
    const std::int64_t begin = end - static_cast<std::int64_t>(node.tokens.size());
    for (std::int64_t p = std::max(begin, context - 1); p < end; ++p) {
      const auto k = static_cast<std::size_t>(p + 1 - context);
      node.targets.push_back(
          {static_cast<std::int32_t>(p - begin), pair.continuation[k], request, k});
    }
    end = begin;
  }
  QX_CHECK(end == 0);
}

std::vector<std::int32_t> RequestTrie::depth_first() const {
  std::vector<std::int32_t> order;
  std::vector<std::int32_t> stack(roots_.rbegin(), roots_.rend());
  while (!stack.empty()) {
    const std::int32_t id = stack.back();
    stack.pop_back();
    order.push_back(id);
    const std::vector<std::int32_t>& children = node(id).children;
    stack.insert(stack.end(), children.rbegin(), children.rend());
  }
  return order;
}

}  // namespace qx
