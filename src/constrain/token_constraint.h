// Keeps a generation inside a JSON Schema: says before every step which tokens may come next, so
// that a text that ends by a stop token always parses and validates. The supported subset:
// docs/json-schema.md.
//
//   auto tree = std::make_shared<const VocabularyTree>(tokenizer);              // once a model
//   auto grammar = std::make_shared<SchemaGrammar>(schema, "response_format");  // once a schema
//   TokenConstraint constraint(grammar, tree, stop_ids);                       // once a generation
//   loop: constraint.mask(logits); id = sample(logits); if (is_stop(id)) break;
//         constraint.accept(id); if (constraint.finished()) break;
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "text/tokenizer.h"

namespace qx {

// The tokens of a vocabulary as a tree of their bytes. Special tokens and tokens without bytes are
// left out: no text is made of them. Immutable. Threads: shared. Memory: about 12 bytes a byte of
// the tokens.
class VocabularyTree {
 public:
  explicit VocabularyTree(const Tokenizer& tokenizer);
  ~VocabularyTree();
  VocabularyTree(const VocabularyTree&) = delete;
  VocabularyTree& operator=(const VocabularyTree&) = delete;

  struct Impl;  // constrain/vocabulary_tree.h, for this folder

 private:
  friend class TokenConstraint;
  friend class SchemaGrammar;
  std::unique_ptr<const Impl> impl_;
};

// A schema as an automaton over bytes, with what has been worked out of it so far (bounded caches).
// Threads: it may be made on one thread and used on another, but at one time only one thread may
// use it or a TokenConstraint of it.
class SchemaGrammar {
 public:
  // schema: an object or a boolean. {"type": "object"} stands for any JSON object. Fails: Error
  // "[origin: #/path] got keyword 'x', .." for a schema that is none, has a keyword that is not
  // supported, is larger than the bounds of docs/json-schema.md, or that no value satisfies.
  SchemaGrammar(const Json& schema, std::string_view origin);
  ~SchemaGrammar();
  SchemaGrammar(const SchemaGrammar&) = delete;
  SchemaGrammar& operator=(const SchemaGrammar&) = delete;

  // One for another thread, which has worked out nothing yet. Costs a copy of the automaton, and not
  // the making of it. Threads: also while this one is used.
  std::shared_ptr<SchemaGrammar> copy() const;

 private:
  friend class TokenConstraint;
  struct Impl;
  explicit SchemaGrammar(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Where one generation is in its schema. Copies are independent and cheap, so that several answers
// may go on from one place.
class TokenConstraint {
 public:
  // stop: the ids that end a generation; allowed when, and only when, the text is complete.
  TokenConstraint(std::shared_ptr<SchemaGrammar> grammar,
                  std::shared_ptr<const VocabularyTree> tree, std::span<const TokenId> stop);

  // Sets what may not come next to -infinity and leaves the rest alone; works on logits and on
  // log-probabilities. Ids beyond the vocabulary (padding rows of a model) may not come next. To be
  // called after other processors, or before: the two commute unless one of them allows what the
  // other forbids. Fails: Error when no token of the vocabulary goes on from here (a vocabulary
  // without some bytes).
  void mask(std::span<float> logits);
  // A token that mask() left alone and that is no stop token. Fails: Error for any other.
  void accept(TokenId id);
  // Whether the text so far is a whole document that satisfies the schema.
  bool complete() const;
  // complete(), and nothing may follow: a generation may end here without asking for the stop
  // token.
  bool finished() const;

 private:
  struct Tracker;  // the keys of open objects, where a schema leaves keys open
  std::shared_ptr<SchemaGrammar> grammar_;
  std::shared_ptr<const VocabularyTree> tree_;
  std::vector<TokenId> stop_;
  std::int32_t state_ = 0;
  std::shared_ptr<const Tracker> tracker_;  // null: not needed
};

}  // namespace qx
