// The tokens that a set of requests asks for, as a forest in which common beginnings occur once.
// Not a map: it is built once, then walked in order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/scorer.h"

namespace qx {

class RequestTrie {
 public:
  // One predicted token: the output at `offset` of the node gives the probability of `token`.
  struct Target {
    std::int32_t offset = 0;
    TokenId token = 0;
    std::size_t request = 0;
    std::size_t position = 0;  // within the request's continuation
  };
  struct Node {
    std::int32_t parent = -1;  // -1: begins a sequence
    std::span<const TokenId> tokens;
    std::vector<std::int32_t> children;
    std::vector<Target> targets;  // by offset, then token, then request
    std::int64_t group = 0;       // of the request that made it
  };

  RequestTrie(std::span<const ScoreRequest> requests, std::int64_t min_shared);
  RequestTrie(const RequestTrie&) = delete;
  RequestTrie& operator=(const RequestTrie&) = delete;

  const Node& node(std::int32_t i) const { return nodes_[static_cast<std::size_t>(i)]; }
  std::size_t size() const { return nodes_.size(); }
  // Every node after its parent; the requests' own order as far as that allows.
  std::vector<std::int32_t> depth_first() const;

 private:
  std::int32_t insert(std::span<const TokenId> sequence, std::int64_t group,
                      std::int64_t min_shared);
  std::int32_t add_node(std::int32_t parent, std::span<const TokenId> tokens, std::int64_t group);
  std::int32_t split(std::int32_t node, std::size_t at);
  void add_targets(std::size_t request, const EncodedPair& pair, std::int32_t leaf);

  std::vector<std::vector<TokenId>> sequences_;  // what the model reads, one per request
  std::vector<Node> nodes_;
  std::vector<std::int32_t> roots_;
};

}  // namespace qx
