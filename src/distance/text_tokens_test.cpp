// SPDX-License-Identifier: Apache-2.0
#include "distance/text_tokens.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "eval/test_tokenizer.h"

namespace qx {
namespace {

constexpr const char* kTemplate =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}!{% endif %}";

std::vector<TokenId> bytes(std::string_view text) {
  std::vector<TokenId> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::string message_of(std::string_view text, TextFormat format, bool chat = false) {
  try {
    parse_documents(text, "f", format, chat, false);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Documents, APlainFileIsOneDocument) {
  const auto kept = parse_documents("a\nb\n", "f", TextFormat::kText, false, false);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].text, "a\nb\n");
  // llama.cpp drops one line feed.
  EXPECT_EQ(parse_documents("a\n\n", "f", TextFormat::kText, false, true)[0].text, "a\n");
}

TEST(Documents, JsonLines) {
  const auto rows = parse_documents(
      "{\"text\": \"x\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}], \"tools\": "
      "[]}\n"
      "{\"prompt\": \"p\", \"completion\": \"c\"}\n\n",
      "f", TextFormat::kJsonl, false, false);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].text, "x");
  EXPECT_TRUE(rows[0].messages.is_null());
  EXPECT_EQ(rows[1].messages[0]["content"], "q");
  EXPECT_EQ(rows[2].messages[1]["role"], "assistant");
  EXPECT_EQ(rows[2].messages[1]["content"], "c");
}

TEST(Documents, ParagraphsBecomePairsOfTurns) {
  const auto rows =
      parse_documents(" \n= A =\n \none\ntwo\n\n\nthree", "f", TextFormat::kText, true, false);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].messages.dump(),
            R"([{"role":"user","content":"= A ="},{"role":"assistant","content":"one\ntwo"}])");
  EXPECT_EQ(rows[1].messages.dump(), R"([{"role":"user","content":"three"}])");
}

TEST(Documents, BadInputNamesTheLine) {
  EXPECT_NE(message_of("", TextFormat::kText).find("[f] got an empty file"), std::string::npos);
  EXPECT_NE(message_of(" \n\n", TextFormat::kText).find("empty"), std::string::npos);
  EXPECT_NE(message_of("\n", TextFormat::kJsonl).find("empty"), std::string::npos);
  EXPECT_NE(message_of("a\nb\xFF\n", TextFormat::kText).find("[f:2]"), std::string::npos);
  EXPECT_NE(message_of("{\"text\": \"a\"}\n{\"txt\": 1}", TextFormat::kJsonl).find("[f:2]"),
            std::string::npos);
  EXPECT_NE(message_of("{\"text\": 1}", TextFormat::kJsonl).find("text"), std::string::npos);
  EXPECT_NE(message_of("{\"messages\": []}", TextFormat::kJsonl).find("empty list"),
            std::string::npos);
  EXPECT_NE(message_of("{\"text\": \"a\"}\n\n{\"text\": \"a\"}", TextFormat::kJsonl).find("[f:2"),
            std::string::npos);
  EXPECT_NE(message_of("{\"text\": \"a\", \"tools\": 1}", TextFormat::kJsonl).find("tools"),
            std::string::npos);
  EXPECT_NE(message_of("[1]", TextFormat::kJsonl).find("object"), std::string::npos);
}

// Golden values of numpy 2.4: numpy.random.seed(s); numpy.random.permutation(n).
TEST(Documents, NumpyPermutation) {
  EXPECT_EQ(numpy_permutation(10, 123), (std::vector<std::int64_t>{4, 0, 7, 5, 8, 3, 1, 6, 9, 2}));
  const auto large = numpy_permutation(1000, 7);
  EXPECT_EQ((std::vector<std::int64_t>(large.begin(), large.begin() + 8)),
            (std::vector<std::int64_t>{778, 334, 271, 802, 216, 408, 812, 94}));
  EXPECT_TRUE(numpy_permutation(0, 1).empty());
  EXPECT_EQ(numpy_permutation(1, 1).size(), 1u);
}

TEST(Encoding, SpecialTokensOfEachConvention) {
  const Tokenizer tokenizer = make_test_tokenizer({.adds_bos = true});
  const auto rows = parse_documents("{\"text\": \"x\"}\n{\"text\": \"y\"}", "f", TextFormat::kJsonl,
                                    false, false);
  EXPECT_EQ(encode_documents(rows, tokenizer, nullptr, {}),
            (std::vector<TokenId>{kBos, 'x', kBos, 'y'}));
  // mlx-lm puts EOS behind each document; numpy's order of two with seed 123 is 1, 0 or 0, 1.
  std::vector<TokenId> expected;
  for (const std::int64_t i : numpy_permutation(2, 123)) {
    for (const TokenId id : {kBos, static_cast<TokenId>(i == 0 ? 'x' : 'y'), kEos}) {
      expected.push_back(id);
    }
  }
  EncodeRules mlx;
  mlx.convention = WindowConvention::kMlxLm;
  EXPECT_EQ(encode_documents(rows, tokenizer, nullptr, mlx), expected);
  // One that ends with EOS gets no second one.
  const auto ended =
      parse_documents("{\"text\": \"x</s>\"}", "f", TextFormat::kJsonl, false, false);
  EXPECT_EQ(encode_documents(ended, tokenizer, nullptr, mlx),
            (std::vector<TokenId>{kBos, 'x', kEos}));
}

TEST(Encoding, ConversationsGoThroughTheTemplate) {
  const Tokenizer tokenizer = make_test_tokenizer({.adds_bos = true});
  const ChatTemplate chat(kTemplate, "<s>", "</s>", "template");
  const auto rows = parse_documents("q\n\nr", "f", TextFormat::kText, true, false);
  // No special tokens beyond the template's, and no generation prompt.
  EXPECT_EQ(encode_documents(rows, tokenizer, &chat, {}), bytes("<user>q<assistant>r"));
  try {
    encode_documents(rows, tokenizer, nullptr, {});
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("no chat template"), std::string::npos) << e.what();
  }
}

TEST(Encoding, HashesTellVocabulariesAndTokensApart) {
  const Tokenizer a = make_test_tokenizer(), b = make_test_tokenizer({.adds_bos = true}),
                  c = make_test_tokenizer({.more_tokens = {"<x>"}});
  EXPECT_EQ(hash_vocabulary(a), hash_vocabulary(b));
  EXPECT_NE(hash_vocabulary(a), hash_vocabulary(c));
  EXPECT_NE(hash_tokens({1, 2}), hash_tokens({2, 1}));
  // sha256 of 01 00 00 00 00 01 00 00, from Python's hashlib.
  EXPECT_EQ(hash_tokens({1, 256}),
            "242045e2f1bb37769b514f182fd91b3d215324cb57f187cced1e9c62921dbac3");
}

TEST(EscapeControls, LeavesTextAndEscapesTheRest) {
  EXPECT_EQ(escape_controls("a\tb\n\r\\ \x1b[31m\x7f"), "a\\tb\\n\\r\\\\ \\u{1b}[31m\\u{7f}");
  EXPECT_EQ(escape_controls("h\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"),
            "h\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80");
  // NEL, line separator, right-to-left override.
  EXPECT_EQ(escape_controls("\xC2\x85\xE2\x80\xA8\xE2\x80\xAE"), "\\u{85}\\u{2028}\\u{202e}");
}

}  // namespace
}  // namespace qx
