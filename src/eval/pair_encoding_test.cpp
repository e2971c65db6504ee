// Both conventions, on the cases where they differ and where tokens do not split at the text's border.
// SPDX-License-Identifier: Apache-2.0
#include "eval/pair_encoding.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "eval/prompt.h"
#include "eval/test_tokenizer.h"

namespace qx {
namespace {

using Ids = std::vector<TokenId>;

EncodedPair encode(const Tokenizer& tokenizer, const PairRules& rules, const std::string& context,
                   const std::string& continuation) {
  const std::string continuations[] = {continuation};
  return PairEncoder(tokenizer, rules).encode(context, continuations, "place").front();
}

constexpr PairRules kLm{Convention::kLmEval, false, 1000};
constexpr PairRules kMlxPlain{Convention::kMlxLm, false, 1000};
constexpr PairRules kMlxChat{Convention::kMlxLm, true, 1000};

TEST(PairEncoding, LmEvalMovesTrailingWhiteSpace) {
  const Tokenizer t = make_test_tokenizer();
  const EncodedPair pair = encode(t, kLm, "x \n", "y");
  EXPECT_EQ(pair.context, Ids{'x'});
  EXPECT_EQ(pair.continuation, (Ids{' ', '\n', 'y'}));
  const EncodedPair nbsp = encode(t, kLm, "x\u00A0", "y");  // white space to Python, two bytes
  EXPECT_EQ(nbsp.context, Ids{'x'});
  EXPECT_EQ(nbsp.continuation, (Ids{0xC2, 0xA0, 'y'}));
  // The space joins the choice: " a" is one token.
  EXPECT_EQ(encode(t, kLm, "x ", "a").continuation, Ids{kSpaceA});
}

TEST(PairEncoding, MlxLmLeavesItInTheContext) {
  const Tokenizer t = make_test_tokenizer();
  const EncodedPair pair = encode(t, kMlxPlain, "x \n", "y");
  EXPECT_EQ(pair.context, (Ids{'x', ' ', '\n'}));
  EXPECT_EQ(pair.continuation, Ids{'y'});
  // "x a" is x and " a": nothing is left after as many tokens as "x " has.
  EXPECT_THROW(encode(t, kMlxPlain, "x ", "a"), Error);
}

TEST(PairEncoding, ContextTokensNeedNotBeAPrefix) {
  const Tokenizer t = make_test_tokenizer();
  for (const PairRules& rules : {kLm, kMlxPlain, kMlxChat}) {
    // enc("xa") = x a; enc("xabc") = x ab c; the model reads x a, then what follows two tokens: c.
    const EncodedPair pair = encode(t, rules, "xa", "bc");
    EXPECT_EQ(pair.context, (Ids{'x', 'a'}));
    EXPECT_EQ(pair.continuation, Ids{'c'});
    EXPECT_THROW(encode(t, rules, "xa", "b"), Error);  // nothing left
    EXPECT_THROW(encode(t, rules, "xa", ""), Error);
  }
}

TEST(PairEncoding, EmptyContext) {
  const Tokenizer t = make_test_tokenizer();
  EXPECT_EQ(encode(t, kLm, "", "y").context, Ids{kBos});
  EXPECT_EQ(encode(t, kLm, "", "y").continuation, Ids{'y'});
  // A continuation that begins with the prefix token keeps one of them.
  EXPECT_EQ(encode(t, kLm, "", "<s>y").context, Ids{kBos});
  EXPECT_EQ(encode(t, kLm, "", "<s>y").continuation, Ids{'y'});
  EXPECT_THROW(encode(t, kLm, "", "<s>"), Error);
  EXPECT_THROW(encode(t, kLm, "", ""), Error);
  EXPECT_THROW(encode(t, kLm, " \n", "y"), Error);  // all blank: the reference stops there
  const Tokenizer no_bos = make_test_tokenizer({false, false, {}});
  EXPECT_EQ(encode(no_bos, kLm, "", "y").context, Ids{kEos});

  const EncodedPair dropped = encode(t, kMlxPlain, "", "y");
  EXPECT_TRUE(dropped.dropped);
  EXPECT_EQ(dropped.continuation, Ids{'y'});
}

TEST(PairEncoding, SpecialTokens) {
  const Tokenizer t = make_test_tokenizer({true, true, {}});
  EXPECT_EQ(encode(t, kLm, "x", "y").context, (Ids{kBos, 'x'}));
  EXPECT_EQ(encode(t, kLm, "x", "y").continuation, Ids{'y'});
  EXPECT_EQ(encode(t, kLm, "<s>x", "y").context, (Ids{kBos, 'x'}));  // not twice
  EXPECT_EQ(encode(t, kLm, "", "y").context, Ids{kBos});
  EXPECT_EQ(encode(t, kMlxPlain, "x", "y").context, (Ids{kBos, 'x'}));
  EXPECT_EQ(encode(t, kMlxPlain, "<s>x", "y").context, (Ids{kBos, kBos, 'x'}));
  EXPECT_EQ(encode(t, kMlxChat, "x", "y").context, Ids{'x'});
  EXPECT_EQ(encode(t, kLm, " ", "y").context, Ids{kBos});  // blank, but BOS is there
}

TEST(PairEncoding, LmEvalCutsEachRequestToFit) {
  const Tokenizer t = make_test_tokenizer();
  const PairEncoder encoder(t, {Convention::kLmEval, false, 4});
  const std::string continuations[] = {"y", "yz"};
  const auto pairs = encoder.encode("uvwx", continuations, "place");
  EXPECT_EQ(pairs[0].context, (Ids{'u', 'v', 'w', 'x'}));  // 5 tokens, the last is not read
  EXPECT_EQ(pairs[0].cut_tokens, 0);
  EXPECT_EQ(pairs[1].context, (Ids{'v', 'w', 'x'}));
  EXPECT_EQ(pairs[1].cut_tokens, 1);
  const std::string too_long[] = {"12345"};
  EXPECT_THROW(encoder.encode("x", too_long, "place"), Error);
  const std::string longest[] = {"1234"};
  EXPECT_EQ(encoder.encode("wx", longest, "place")[0].context, Ids{'x'});
}

TEST(PairEncoding, MlxLmCutsAllChoicesAlike) {
  const Tokenizer t = make_test_tokenizer();
  const PairEncoder encoder(t, {Convention::kMlxLm, true, 4});
  const std::string continuations[] = {"y", "yz"};
  const auto pairs = encoder.encode("uvwx", continuations, "place");
  EXPECT_EQ(pairs[0].context, (Ids{'v', 'w', 'x'}));
  EXPECT_EQ(pairs[1].context, (Ids{'v', 'w', 'x'}));
  EXPECT_EQ(pairs[0].cut_tokens, 1);
  EXPECT_FALSE(pairs[0].dropped);
  const std::string too_long[] = {"12345", "1"};
  for (const EncodedPair& pair : encoder.encode("x", too_long, "place")) EXPECT_TRUE(pair.dropped);
}

TEST(PairEncoding, GivenIdsFollowTheSameRule) {
  const Tokenizer t = make_test_tokenizer();
  const PairEncoder encoder(t, {Convention::kLmEval, false, 2});
  const EncodedPair pair = encoder.fit({1, 2, 3}, {4}, "place");
  EXPECT_EQ(pair.context, (Ids{2, 3}));
  EXPECT_THROW(encoder.fit({}, {4}, "place"), Error);
  EXPECT_THROW(encoder.fit({1}, {}, "place"), Error);
}

const Task& arc() {
  return *find_task("arc_easy");
}

DataItem arc_item() {
  DataItem item;
  item.place = "f:1";
  item.item = {{"q"}, {"a", "ab"}, 0, ""};
  return item;
}

TEST(Prompt, PlainChoicesFollowASpace) {
  const Tokenizer t = make_test_tokenizer();
  const Prompter prompter(t, nullptr, {kLm, {}});
  const auto prompts = prompter.prompts(arc(), arc_item());
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_EQ(prompts[0].context, "q");
  EXPECT_EQ(prompts[1].continuation, " ab");
  EXPECT_EQ(prompts_json("arc_easy", 4, prompts).dump(),
            R"({"task":"arc_easy","index":4,"choices":[{"context":"q","continuation":" a",)"
            R"("scored":[1,2],"ids":[113,257]},{"context":"q","continuation":" ab",)"
            R"("scored":[1,3],"ids":[113,32,256]}]})");
}

TEST(Prompt, ChatChoicesFollowTheTemplate) {
  const Tokenizer t = make_test_tokenizer({false, true, {"<think>", "</think>"}});
  EXPECT_TRUE(has_thinking_tokens(t));
  EXPECT_FALSE(has_thinking_tokens(make_test_tokenizer()));
  const ChatTemplate chat(
      "{% for m in messages %}{{ m.role }}:{{ m.content }}|{% endfor %}"
      "{% if add_generation_prompt %}{{ enable_thinking }}>\n{% endif %}",
      "<s>", "</s>", "test template");
  const Prompter prompter(t, &chat, {kMlxChat, {}});
  const auto prompts = prompter.prompts(arc(), arc_item());
  EXPECT_EQ(prompts[0].context, "user:q|True>\n");
  EXPECT_EQ(prompts[0].continuation, "a");
  EXPECT_EQ(prompts[0].pair.continuation, Ids{'a'});
  const Prompter off(t, &chat, {kMlxChat, parse_json(R"({"enable_thinking": false})", "x")});
  EXPECT_EQ(off.prompts(arc(), arc_item())[0].context, "user:q|False>\n");
}

TEST(Prompt, ContextsOfTheirOwn) {
  const Tokenizer t = make_test_tokenizer();
  DataItem item = arc_item();
  item.item = {{"c1", "c2"}, {"x", "x"}, 1, ""};
  const auto prompts = Prompter(t, nullptr, {kLm, {}}).prompts(*find_task("winogrande"), item);
  EXPECT_EQ(prompts[0].context, "c1");
  EXPECT_EQ(prompts[1].context, "c2");
}

}  // namespace
}  // namespace qx
