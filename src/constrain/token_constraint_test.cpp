// Tests of masks: against trying every token, and what random walks write against the schema.
// SPDX-License-Identifier: Apache-2.0
#include "constrain/token_constraint.h"

#include <gtest/gtest.h>

#include "constrain/random_walk.h"
#include "constrain/schema_check.h"

namespace qx {
namespace {

constexpr int kRandomSchemas = 400;

class Schemas {
 public:
  explicit Schemas(std::uint64_t seed) : random_(seed) {}

  Json make(int depth) {
    switch (random_.below(depth > 0 ? 11 : 6)) {
      case 0:
        return string();
      case 1:
        return number();
      case 2:
        return {{"type", coin() ? "boolean" : "null"}};
      case 3:
        return {{"enum", Json::array({"a", "ab\"é", 1, -2.5, nullptr, Json::array({1, "x"})})}};
      case 4:
        return {{"type", Json::array({"null", "integer", "string"})}, {"maxLength", 4}};
      case 5:
        return coin() ? Json(true) : Json({{"type", "object"}});
      case 6:
      case 7:
        return object(depth);
      case 8:
        return array(depth);
      case 9:
        return {{"anyOf", Json::array({make(depth - 1), make(depth - 1), object(depth)})}};
      default:
        return {{"oneOf", Json::array({kind("a", depth), kind("b", depth)})}};
    }
  }

 private:
  bool coin() { return random_.below(2) == 0; }
  int below(std::uint64_t n) { return static_cast<int>(random_.below(n)); }

  Json string() {
    Json out = {{"type", "string"}};
    if (coin()) out["minLength"] = below(4);
    if (coin()) out["maxLength"] = 4 + below(5);
    if (below(3) == 0) out["pattern"] = coin() ? "^[a-e]*$" : "b|\\d";
    if (below(6) == 0) return {{"type", "string"}, {"format", coin() ? "date-time" : "uuid"}};
    return out;
  }
  Json number() {
    Json out = {{"type", coin() ? "integer" : "number"}};
    if (coin()) out["minimum"] = below(200) - 100;
    if (coin()) out["exclusiveMaximum"] = 100 + below(1000) / 4.0;
    if (out["type"] == "integer" && below(3) == 0) out["multipleOf"] = 1 + below(9);
    return out;
  }
  Json object(int depth) {
    Json out = {{"type", "object"}, {"properties", Json::object()}, {"required", Json::array()}};
    for (const char* name : {"a", "b", "name", "é\"", ""}) {
      if (coin()) continue;
      out["properties"][name] = make(depth - 1);
      if (coin()) out["required"].push_back(name);
    }
    if (coin()) out["additionalProperties"] = coin() ? Json(false) : make(depth - 1);
    if (out["properties"].empty() && coin()) {
      out["minProperties"] = below(3);
      out["maxProperties"] = 2 + below(3);
    }
    return out;
  }
  Json array(int depth) {
    Json out = {{"type", "array"}};
    if (below(4) != 0) out["items"] = make(depth - 1);
    if (coin()) out["prefixItems"] = Json::array({make(depth - 1), make(depth - 1)});
    if (coin()) out["minItems"] = below(4);
    if (coin()) out["maxItems"] = 3 + below(3);
    return out;
  }
  Json kind(const char* name, int depth) {
    return {{"type", "object"},
            {"properties", {{"kind", {{"const", name}}}, {"value", make(depth - 1)}}},
            {"required", {"kind"}}};
  }
  Random random_;
};

class Constraint : public testing::Test {
 protected:
  TokenConstraint make(const Json& schema) {
    const TokenId stop[] = {*tokenizer_.id_of("<eos>")};
    return {std::make_shared<SchemaGrammar>(schema, "test"), tree_, stop};
  }
  std::vector<bool> allowed(TokenConstraint& constraint) {
    std::vector<float> logits(tokenizer_.vocab_size() + 2, 1.0F);
    constraint.mask(logits);
    std::vector<bool> out;
    for (const float v : logits) out.push_back(v == 1.0F);
    return out;
  }
  void accept_text(TokenConstraint& constraint, std::string_view text) {
    for (const char c : text) {
      std::string alphabet;
      append_utf8(alphabet, byte_alphabet()[static_cast<unsigned char>(c)]);
      constraint.accept(*tokenizer_.id_of(alphabet));
    }
  }
  Tokenizer tokenizer_ = random_walk::vocabulary();
  std::shared_ptr<const VocabularyTree> tree_ = std::make_shared<VocabularyTree>(tokenizer_);
};

TEST_F(Constraint, WhatRandomWalksWriteParsesAndValidates) {
  Random random(1);
  Schemas schemas(2);
  int unsatisfiable = 0, unfinished = 0, written = 0;
  for (int i = 0; i < kRandomSchemas; ++i) {
    const Json schema = schemas.make(3);
    std::optional<TokenConstraint> constraint;
    try {
      constraint = make(schema);
    } catch (const Error&) {
      ++unsatisfiable;
      continue;
    }
    for (int walk = 0; walk < 5; ++walk) {
      const std::optional<std::string> text = random_walk::write(*constraint, tokenizer_, random);
      if (!text) {
        ++unfinished;
        continue;
      }
      ++written;
      ASSERT_TRUE(text_satisfies(*text, schema)) << *text << "\n" << schema.dump();
    }
  }
  EXPECT_LT(unsatisfiable, kRandomSchemas / 5);
  EXPECT_LT(unfinished, written / 50);
}

TEST_F(Constraint, MasksAllowWhatCanBeAccepted) {
  Random random(3);
  Schemas schemas(4);
  int steps = 0;
  for (int i = 0; i < 60; ++i) {
    std::optional<TokenConstraint> constraint;
    try {
      constraint = make(schemas.make(2));
    } catch (const Error&) {
      continue;
    }
    for (int step = 0; step < 40 && !constraint->finished(); ++step) {
      const std::vector<bool> mask = allowed(*constraint);
      std::vector<TokenId> choices;
      for (std::size_t t = 0; t < tokenizer_.vocab_size(); ++t) {
        const auto id = static_cast<TokenId>(t);
        if (tokenizer_.is_special(id)) {
          ASSERT_EQ(mask[t], constraint->complete());
          continue;
        }
        TokenConstraint tried = *constraint;
        bool accepted = true;
        try {
          tried.accept(id);
        } catch (const Error&) {
          accepted = false;
        }
        ASSERT_EQ(mask[t], accepted) << tokenizer_.token_text(id);
        if (accepted) choices.push_back(id);
      }
      for (std::size_t t = tokenizer_.vocab_size(); t < mask.size(); ++t) EXPECT_FALSE(mask[t]);
      if (choices.empty()) break;
      constraint->accept(choices[random.below(choices.size())]);
      ++steps;
    }
  }
  EXPECT_GT(steps, 500);
}

TEST_F(Constraint, NoKeyComesTwice) {
  TokenConstraint constraint = make({{"type", "object"}});
  accept_text(constraint, "{\"a\":1,\"");
  TokenConstraint other = constraint;
  EXPECT_THROW(accept_text(constraint, "a\""), Error);
  accept_text(other, "aa\":{\"a\":2}}");
  EXPECT_TRUE(other.finished());
}

TEST_F(Constraint, StopsOnlyWhenComplete) {
  const auto eos = static_cast<std::size_t>(*tokenizer_.id_of("<eos>"));
  TokenConstraint constraint = make({{"type", "integer"}});
  EXPECT_FALSE(allowed(constraint)[eos]);
  EXPECT_FALSE(constraint.complete());
  accept_text(constraint, "1");
  EXPECT_TRUE(allowed(constraint)[eos]);
  EXPECT_TRUE(constraint.complete());
  EXPECT_FALSE(constraint.finished());
  accept_text(constraint, "2");
  EXPECT_THROW(constraint.accept(static_cast<TokenId>(eos)), Error);
  EXPECT_THROW(constraint.accept(-1), Error);
  EXPECT_THROW(constraint.accept(1 << 20), Error);
  // A stop token that is text of the schema too: it may only end.
  const TokenId one = *tokenizer_.id_of("1");
  const TokenId stop[] = {one};
  TokenConstraint stopped(std::make_shared<SchemaGrammar>(Json({{"type", "integer"}}), "test"),
                          tree_, stop);
  EXPECT_FALSE(allowed(stopped)[static_cast<std::size_t>(one)]);
  accept_text(stopped, "2");
  EXPECT_TRUE(allowed(stopped)[static_cast<std::size_t>(one)]);
}

TEST_F(Constraint, AVocabularyWithoutTheBytesIsAnError) {
  const Json file = {{"model", {{"type", "BPE"}, {"vocab", {{"a", 0}}}, {"merges", Json::array()}}},
                     {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                     {"decoder", {{"type", "ByteLevel"}}}};
  const Tokenizer poor = Tokenizer::from_json(file.dump(), "{}", "test");
  TokenConstraint constraint(std::make_shared<SchemaGrammar>(Json(true), "test"),
                             std::make_shared<VocabularyTree>(poor), {});
  std::vector<float> logits(1);
  EXPECT_THROW(constraint.mask(logits), Error);
}

TEST_F(Constraint, CopiesOfAGrammarRuleAsItDoesAndKnowNothingOfEachOther) {
  Random random(5);
  Schemas schemas(6);
  int steps = 0;
  for (int i = 0; i < 30; ++i) {
    std::shared_ptr<SchemaGrammar> grammar;
    try {
      grammar = std::make_shared<SchemaGrammar>(schemas.make(2), "test");
    } catch (const Error&) {
      continue;
    }
    const TokenId stop[] = {*tokenizer_.id_of("<eos>")};
    TokenConstraint first(grammar, tree_, stop);
    for (int copy = 0; copy < 2; ++copy) {
      // The second one is of a grammar that has worked out a lot by then.
      TokenConstraint second(grammar->copy(), tree_, stop);
      TokenConstraint walk = first;
      for (int step = 0; step < 20 && !walk.finished(); ++step) {
        const std::vector<bool> mask = allowed(walk);
        ASSERT_EQ(mask, allowed(second));
        std::vector<TokenId> choices;
        for (std::size_t t = 0; t < tokenizer_.vocab_size(); ++t) {
          if (mask[t] && !tokenizer_.is_special(static_cast<TokenId>(t))) {
            choices.push_back(static_cast<TokenId>(t));
          }
        }
        if (choices.empty()) break;
        const TokenId id = choices[random.below(choices.size())];
        walk.accept(id);
        second.accept(id);
        ++steps;
      }
      ASSERT_EQ(walk.complete(), second.complete());
    }
  }
  EXPECT_GT(steps, 200);
}

TEST_F(Constraint, OneGrammarServesSeveralVocabularies) {
  const auto grammar = std::make_shared<SchemaGrammar>(Json({{"type", "null"}}), "test");
  const Json file = {
      {"model",
       {{"type", "BPE"}, {"vocab", {{"n", 0}, {"u", 1}, {"l", 2}}}, {"merges", Json::array()}}},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
      {"decoder", {{"type", "ByteLevel"}}}};
  const Tokenizer small = Tokenizer::from_json(file.dump(), "{}", "test");
  TokenConstraint a(grammar, tree_, {}), b(grammar, std::make_shared<VocabularyTree>(small), {});
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(allowed(a)[static_cast<std::size_t>(*tokenizer_.id_of("nul"))]);
    std::vector<float> logits(3, 1.0F);
    b.mask(logits);
    EXPECT_TRUE(logits[0] == 1.0F && logits[1] != 1.0F && logits[2] != 1.0F);
  }
}

}  // namespace
}  // namespace qx
