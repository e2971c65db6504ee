// Runs a forest of requests through a model, pass by pass.
// SPDX-License-Identifier: Apache-2.0
#include "eval/scorer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "base/error.h"
#include "base/interrupt.h"
#include "eval/request_trie.h"

namespace qx {
namespace {

// A piece this small is not worth cutting off a node just to fill a pass.
constexpr std::int64_t kSmallestPiece = 32;

struct Piece {
  std::int32_t node;
  std::int64_t begin, end;  // tokens of the node
};

class Run {
 public:
  Run(Model& model, std::span<const ScoreRequest> requests, const PassRules& rules,
      const std::function<void(std::size_t, const PairScore&)>& on_score, const OnToken& on_token)
      : model_(model),
        requests_(requests),
        rules_(rules),
        on_score_(on_score),
        on_token_(on_token),
        trie_(requests, rules.min_shared),
        nodes_(trie_.size()),
        pending_(requests.size()) {
    QX_CHECK(rules.tokens > 0);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      pending_[i].logprobs.resize(requests[i].pair.continuation.size());
      pending_[i].left = pending_[i].logprobs.size();
    }
  }

  void run() {
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i].pair.dropped) {
        on_score_(i, {-std::numeric_limits<double>::infinity(),
                      static_cast<std::int64_t>(requests_[i].pair.continuation.size()), false});
      }
    }
    for (const std::int32_t node : trie_.depth_first()) add_node(node);
    flush();
  }

 private:
  struct NodeState {
    std::shared_ptr<KvSegment> segment;
    std::size_t children_started = 0;
    bool complete = false;
  };
  struct Pending {
    std::vector<double> logprobs;
    std::size_t left = 0;
    bool greedy = true;
  };

  void add_node(std::int32_t id) {
    const auto length = static_cast<std::int64_t>(trie_.node(id).tokens.size());
    for (std::int64_t begin = 0; begin < length;) {
      const std::int64_t room = rules_.tokens - used_;
      const std::int64_t take = std::min(length - begin, room);
      if (used_ > 0 && take < length - begin && take < kSmallestPiece) {
        flush();
        continue;
      }
      pieces_.push_back({id, begin, begin + take});
      used_ += take;
      begin += take;
      if (used_ == rules_.tokens) flush();
    }
  }

  KvSegment* segment_of(std::int32_t id) {
    NodeState& state = nodes_[static_cast<std::size_t>(id)];
    if (!state.segment) {
      const RequestTrie::Node& node = trie_.node(id);
      std::shared_ptr<const KvSegment> parent;
      if (node.parent >= 0) {
        NodeState& above = nodes_[static_cast<std::size_t>(node.parent)];
        QX_CHECK(above.segment != nullptr);
        parent = above.segment;
        ++above.children_started;
      }
      state.segment =
          model_.new_segment(std::move(parent), static_cast<std::int64_t>(node.tokens.size()));
    }
    return state.segment.get();
  }

  // The targets of a piece are a run of its node's targets, since those are in order of offset.
  std::span<const RequestTrie::Target> targets_of(const Piece& piece) const {
    const std::vector<RequestTrie::Target>& all = trie_.node(piece.node).targets;
    const auto by_offset = [](const RequestTrie::Target& t, std::int64_t offset) {
      return t.offset < offset;
    };
    const auto first = std::lower_bound(all.begin(), all.end(), piece.begin, by_offset);
    return {first, std::lower_bound(first, all.end(), piece.end, by_offset)};
  }

  void flush() {
    if (pieces_.empty()) return;
    check_interrupt();
    std::vector<std::vector<std::int32_t>> outputs(pieces_.size());
    std::vector<Chunk> chunks;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const Piece& piece = pieces_[i];
      for (const RequestTrie::Target& target : targets_of(piece)) {
        const auto at = static_cast<std::int32_t>(target.offset - piece.begin);
        if (outputs[i].empty() || outputs[i].back() != at) outputs[i].push_back(at);
      }
      chunks.push_back({segment_of(piece.node),
                        trie_.node(piece.node)
                            .tokens.subspan(static_cast<std::size_t>(piece.begin),
                                            static_cast<std::size_t>(piece.end - piece.begin)),
                        outputs[i]});
    }
    score(model_.forward(chunks));
    release_segments();
    pieces_.clear();
    used_ = 0;
  }

  // Several tokens may be wanted at one position (the first tokens of an item's choices): that row
  // of the hidden states is then repeated.
  void score(const Hidden& hidden) {
    Hidden rows;
    rows.width = hidden.width;
    std::vector<TokenId> tokens;
    std::vector<std::span<const RequestTrie::Target>> wanted;  // per row: equal offset and token
    std::int64_t source = -1;
    for (const Piece& piece : pieces_) {
      const std::span<const RequestTrie::Target> targets = targets_of(piece);
      std::int32_t last_offset = -1;
      for (std::size_t i = 0; i < targets.size();) {
        std::size_t end = i + 1;
        while (end < targets.size() && targets[end].offset == targets[i].offset &&
               targets[end].token == targets[i].token) {
          ++end;
        }
        if (targets[i].offset != last_offset) ++source;
        last_offset = targets[i].offset;
        const std::span<const float> row = hidden.row(source);
        rows.values.insert(rows.values.end(), row.begin(), row.end());
        tokens.push_back(targets[i].token);
        wanted.push_back(targets.subspan(i, end - i));
        i = end;
      }
    }
    rows.rows = static_cast<std::int64_t>(tokens.size());
    QX_CHECK(source + 1 == hidden.rows);
    if (rows.rows == 0) return;
    const std::vector<TokenScore> scores = model_.score(rows, tokens);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      for (const RequestTrie::Target& target : wanted[i]) record(target, scores[i]);
    }
  }

  void record(const RequestTrie::Target& target, const TokenScore& score) {
    Pending& pending = pending_[target.request];
    if (on_token_) on_token_(target.request, target.position, score);
    pending.logprobs[target.position] = score.logprob;
    pending.greedy = pending.greedy && score.best == target.token;
    if (--pending.left > 0) return;
    PairScore result{0, static_cast<std::int64_t>(pending.logprobs.size()), pending.greedy};
    for (const double logprob : pending.logprobs) result.ll += logprob;
    if (std::isnan(result.ll)) {
      fail(fmt::format("request {}", target.request),
           "the model gave a log-likelihood that is not a number, expected finite outputs; its "
           "weights "
           "may be damaged");
    }
    pending.logprobs = {};
    on_score_(target.request, result);
  }

  // A segment is needed until its node is complete and every child has begun (children keep it
  // alive).
  void release_segments() {
    for (const Piece& piece : pieces_) {
      const auto length = static_cast<std::int64_t>(trie_.node(piece.node).tokens.size());
      if (piece.end == length) nodes_[static_cast<std::size_t>(piece.node)].complete = true;
    }
    for (const Piece& piece : pieces_) {
      for (std::int32_t id = piece.node; id >= 0; id = trie_.node(id).parent) {
        NodeState& state = nodes_[static_cast<std::size_t>(id)];
        if (state.complete && state.children_started == trie_.node(id).children.size()) {
          state.segment.reset();
        }
      }
    }
  }

  Model& model_;
  std::span<const ScoreRequest> requests_;
  PassRules rules_;
  const std::function<void(std::size_t, const PairScore&)>& on_score_;
  const OnToken& on_token_;
  RequestTrie trie_;
  std::vector<NodeState> nodes_;
  std::vector<Pending> pending_;
  std::vector<Piece> pieces_;
  std::int64_t used_ = 0;  // tokens in pieces_
};

}  // namespace

TokenCounts count_tokens(std::span<const ScoreRequest> requests, const PassRules& rules) {
  TokenCounts counts;
  for (const ScoreRequest& request : requests) {
    if (request.pair.dropped) continue;
    const auto scored = static_cast<std::int64_t>(request.pair.continuation.size());
    counts.scored += scored;
    counts.unshared += static_cast<std::int64_t>(request.pair.context.size()) + scored - 1;
  }
  const RequestTrie trie(requests, rules.min_shared);
  for (std::size_t i = 0; i < trie.size(); ++i) {
    counts.forward +=
        static_cast<std::int64_t>(trie.node(static_cast<std::int32_t>(i)).tokens.size());
  }
  return counts;
}

void score_pairs(Model& model, std::span<const ScoreRequest> requests, const PassRules& rules,
                 const std::function<void(std::size_t, const PairScore&)>& on_score) {
  score_pairs(model, requests, rules, on_score, {});
}

void score_pairs(Model& model, std::span<const ScoreRequest> requests, const PassRules& rules,
                 const std::function<void(std::size_t, const PairScore&)>& on_score,
                 const OnToken& on_token) {
  Run(model, requests, rules, on_score, on_token).run();
}

}  // namespace qx
