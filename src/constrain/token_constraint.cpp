// SPDX-License-Identifier: Apache-2.0
#include "constrain/token_constraint.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "base/error.h"
#include "constrain/grammar_states.h"
#include "constrain/key_scanner.h"
#include "constrain/vocabulary_tree.h"

namespace qx {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();
constexpr std::size_t kMaxCached = 256;  // of each kind; one takes a bit a token and a little more

class TokenSet {
 public:
  explicit TokenSet(std::size_t ids = 0) : words_((ids + 63) / 64, 0) {}
  void add(TokenId id) { word(id) |= bit(id); }
  void remove(TokenId id) { word(id) &= ~bit(id); }
  bool has(TokenId id) const { return (words_[static_cast<std::size_t>(id) / 64] & bit(id)) != 0; }
  void add(const TokenSet& other) {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  }

 private:
  static std::uint64_t bit(TokenId id) { return std::uint64_t{1} << (id & 63); }
  std::uint64_t& word(TokenId id) { return words_[static_cast<std::size_t>(id) / 64]; }
  std::vector<std::uint64_t> words_;
};

}  // namespace

struct SchemaGrammar::Impl {
  explicit Impl(Grammar grammar) : states(std::move(grammar)) {}

  // What the tokens do inside one text, whatever comes behind it.
  struct TextTokens {
    TokenSet inside;                    // tokens after which the text goes on or has just ended
    std::vector<std::int32_t> endings;  // nodes of the tree at which it may have ended
  };

  const TokenSet& allowed(WalkState state, const std::shared_ptr<const VocabularyTree>& tree);
  const TextTokens& text_tokens(std::int32_t place);
  void walk(std::int32_t node, WalkState state, TokenSet& out);

  GrammarStates states;
  std::shared_ptr<const VocabularyTree> tree;  // that the caches below are for
  const VocabularyTree::Impl* nodes = nullptr;
  std::unordered_map<std::int32_t, TextTokens> by_place;
  std::unordered_map<WalkState, TokenSet> by_state;
};

namespace {

template <typename OnNode>
void add_tokens(const VocabularyTree::Impl& tree, std::int32_t node, OnNode on_token) {
  const auto i = static_cast<std::size_t>(node);
  for (std::int32_t t = tree.nodes[i].first_token; t < tree.nodes[i + 1].first_token; ++t) {
    on_token(tree.tokens[static_cast<std::size_t>(t)]);
  }
}

// Goes down from a node as far as `step` (state before, byte, state after) goes; on_node for each
// reached.
template <typename State, typename Step, typename OnNode>
void walk_tree(const VocabularyTree::Impl& tree, std::int32_t root, State start, Step step,
               OnNode on_node) {
  const VocabularyTree::Impl::Node& top = tree.nodes[static_cast<std::size_t>(root)];
  std::vector<State> states = {start};  // by depth below the root
  for (std::int32_t i = root + 1; i < top.end;) {
    const VocabularyTree::Impl::Node& node = tree.nodes[static_cast<std::size_t>(i)];
    const std::size_t depth = std::size_t{node.depth} - top.depth;
    const State to = step(states[depth - 1], node.byte);
    if (to == kNoState) {
      i = node.end;
      continue;
    }
    states.resize(std::max(states.size(), depth + 1));
    states[depth] = to;
    on_node(i, to);
    ++i;
  }
}

}  // namespace

const SchemaGrammar::Impl::TextTokens& SchemaGrammar::Impl::text_tokens(std::int32_t place) {
  if (const auto known = by_place.find(place); known != by_place.end()) return known->second;
  if (by_place.size() >= kMaxCached) by_place.clear();
  const auto [text, inner] = states.text_at(place);
  TextTokens out{TokenSet(nodes->vocab_size), {}};
  walk_tree(
      *nodes, 0, inner,
      [&text = *text](std::int32_t state, std::uint8_t byte) { return text.next(state, byte); },
      [&, &automaton = *text](std::int32_t node, std::int32_t state) {
        add_tokens(*nodes, node, [&](TokenId id) { out.inside.add(id); });
        const bool leaf = nodes->nodes[static_cast<std::size_t>(node)].end == node + 1;
        if (!leaf && automaton.accepting(state)) out.endings.push_back(node);
      });
  return by_place.emplace(place, std::move(out)).first->second;
}

void SchemaGrammar::Impl::walk(std::int32_t node, WalkState state, TokenSet& out) {
  walk_tree(
      *nodes, node, state,
      [this](WalkState from, std::uint8_t byte) { return states.next(from, byte); },
      [&](std::int32_t at, WalkState) {
        add_tokens(*nodes, at, [&](TokenId id) { out.add(id); });
      });
}

const TokenSet& SchemaGrammar::Impl::allowed(
    WalkState state, const std::shared_ptr<const VocabularyTree>& vocabulary) {
  if (vocabulary != tree) {
    tree = vocabulary;
    nodes = tree->impl_.get();
    by_place.clear();
    by_state.clear();
  }
  if (const auto known = by_state.find(state); known != by_state.end()) return known->second;
  if (by_state.size() >= kMaxCached) by_state.clear();
  TokenSet out(nodes->vocab_size);
  const GrammarStates::Set set = states.set(state);
  for (const GrammarStates::Pair& pair : set.pairs) {
    const TextTokens& tokens = text_tokens(pair.place);
    out.add(tokens.inside);
    const WalkState behind = states.state_before(pair.then);
    for (const std::int32_t node : tokens.endings) walk(node, behind, out);
  }
  return by_state.emplace(state, std::move(out)).first->second;
}

SchemaGrammar::SchemaGrammar(const Json& schema, std::string_view origin)
    : impl_(std::make_unique<Impl>(compile_schema(schema, origin))) {}
SchemaGrammar::SchemaGrammar(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

std::shared_ptr<SchemaGrammar> SchemaGrammar::copy() const {
  // Of all that Impl holds, the grammar alone never changes.
  auto impl = std::make_unique<Impl>(impl_->states.grammar());
  return std::shared_ptr<SchemaGrammar>(new SchemaGrammar(std::move(impl)));
}

SchemaGrammar::~SchemaGrammar() = default;

struct TokenConstraint::Tracker {
  KeyScanner keys;
};

TokenConstraint::TokenConstraint(std::shared_ptr<SchemaGrammar> grammar,
                                 std::shared_ptr<const VocabularyTree> tree,
                                 std::span<const TokenId> stop)
    : grammar_(std::move(grammar)), tree_(std::move(tree)), stop_(stop.begin(), stop.end()) {
  GrammarStates& states = grammar_->impl_->states;
  state_ = states.start();
  if (states.grammar().open_keys) tracker_ = std::make_shared<const Tracker>();
}

void TokenConstraint::mask(std::span<float> logits) {
  const VocabularyTree::Impl& tree = *tree_->impl_;
  const TokenSet* allowed = &grammar_->impl_->allowed(state_, tree_);
  TokenSet without;
  if (tracker_ != nullptr) {
    without = *allowed;
    for (const TokenId id : tree.with_quote) {
      const std::string& bytes = tree.bytes[static_cast<std::size_t>(id)];
      if (without.has(id) && tracker_->keys.repeats_key(bytes)) without.remove(id);
    }
    allowed = &without;
  }
  const bool may_stop = complete();
  const auto is_stop = [&](TokenId id) {
    return std::find(stop_.begin(), stop_.end(), id) != stop_.end();
  };
  std::vector<std::pair<std::size_t, float>> kept;
  for (const TokenId id : stop_) {
    const auto i = static_cast<std::size_t>(id);
    if (may_stop && id >= 0 && i < logits.size()) kept.emplace_back(i, logits[i]);
  }
  bool some = !kept.empty();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (i < tree.vocab_size && allowed->has(static_cast<TokenId>(i))) {
      some = some || !is_stop(static_cast<TokenId>(i));
    } else {
      logits[i] = kForbidden;
    }
  }
  for (const TokenId id : stop_) {
    if (id >= 0 && static_cast<std::size_t>(id) < logits.size()) {
      logits[static_cast<std::size_t>(id)] = kForbidden;
    }
  }
  for (const auto& [i, logit] : kept) logits[i] = logit;
  if (!some) {
    fail("schema",
         "got a vocabulary without a token that goes on from here, expected one with all bytes");
  }
}

void TokenConstraint::accept(TokenId id) {
  const VocabularyTree::Impl& tree = *tree_->impl_;
  const bool known = id >= 0 && static_cast<std::size_t>(id) < tree.vocab_size;
  const std::string_view bytes =
      known ? std::string_view(tree.bytes[static_cast<std::size_t>(id)]) : std::string_view();
  WalkState state = bytes.empty() ? kNoState : state_;
  for (std::size_t i = 0; i < bytes.size() && state != kNoState; ++i) {
    state = grammar_->impl_->states.next(state, static_cast<std::uint8_t>(bytes[i]));
  }
  if (state == kNoState || (tracker_ != nullptr && tracker_->keys.repeats_key(bytes))) {
    fail("schema", "got the token {}, expected one that the schema allows here", id);
  }
  state_ = state;
  if (tracker_ != nullptr) {
    auto tracker = std::make_shared<Tracker>(*tracker_);
    tracker->keys.take(bytes);
    tracker_ = std::move(tracker);
  }
}

bool TokenConstraint::complete() const {
  return grammar_->impl_->states.set(state_).complete;
}

bool TokenConstraint::finished() const {
  return complete() && grammar_->impl_->states.set(state_).pairs.empty();
}

}  // namespace qx
