// Tests of UTF-8 repair, character classes and normal forms.
// SPDX-License-Identifier: Apache-2.0
#include "text/unicode.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "text/tokenizer_regex.h"

namespace qx {
namespace {

const std::string kReplacement = "\xEF\xBF\xBD";

std::string replacements(int n) {
  std::string s;
  for (int i = 0; i < n; ++i) s += kReplacement;
  return s;
}

std::string utf8(std::initializer_list<char32_t> points) {
  std::string s;
  for (const char32_t c : points) append_utf8(s, c);
  return s;
}

TEST(Utf8, ValidTextStays) {
  const std::string text =
      std::string("a\0b", 3) + utf8({0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10FFFF});
  EXPECT_TRUE(is_utf8(text));
  EXPECT_EQ(to_valid_utf8(text), text);
}

// The rows of Unicode 15, tables 3-8 to 3-11, and each way in which a sequence can end.
TEST(Utf8, MaximalSubpartsBecomeOneReplacement) {
  const std::pair<std::string, std::string> cases[] = {
      {"\x80", replacements(1)},
      {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", replacements(8) + "A"},
      {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", replacements(8) + "A"},
      {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", replacements(5) + "A" + replacements(2) + "B"},
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", replacements(4) + "A"},
      {"\xC3", replacements(1)},
      {"\xE2\x82", replacements(1)},
      {"\xF0\x9F\x98", replacements(1)},
      {"\xF5\x80\x80\x80", replacements(4)},
      {"x\xE2\x82y", "x" + replacements(1) + "y"},
  };
  for (const auto& [bytes, want] : cases) {
    EXPECT_FALSE(is_utf8(bytes));
    EXPECT_EQ(to_valid_utf8(bytes), want) << testing::PrintToString(bytes);
  }
}

TEST(Utf8, DrainingInPiecesEqualsTheWhole) {
  Random random(7);
  const unsigned char bytes[] = {0x41, 0x80, 0xBF, 0xC3, 0xE0, 0xA0, 0xE2, 0x82,
                                 0xAC, 0xED, 0xF0, 0x9F, 0x98, 0xF4, 0xFF};
  for (int round = 0; round < 2000; ++round) {
    std::string all, pending, text;
    for (std::uint64_t i = random.below(20); i > 0; --i) {
      for (std::uint64_t k = random.below(4); k > 0; --k) {
        const char b = static_cast<char>(bytes[random.below(std::size(bytes))]);
        all += b;
        pending += b;
      }
      drain_utf8(pending, text);
      EXPECT_LE(pending.size(), 3u);
    }
    EXPECT_EQ(text + to_valid_utf8(pending), to_valid_utf8(all));
  }
}

TEST(Utf8, PreviousCharacter) {
  const std::string text = utf8({'a', 0xE9, 0x20AC, 0x1F600});
  EXPECT_EQ(previous_utf8(text, text.size()), 6u);
  EXPECT_EQ(previous_utf8(text, 6), 3u);
  EXPECT_EQ(previous_utf8(text, 3), 1u);
  EXPECT_EQ(previous_utf8(text, 1), 0u);
}

TEST(Classes, WhiteSpaceIsTheProperty) {
  int count = 0;
  for (char32_t c = 0; c < 0x110000; ++c) count += is_white_space(c);
  EXPECT_EQ(count, 25);
  EXPECT_TRUE(is_white_space(0x85));
  EXPECT_FALSE(is_white_space(0x180E));
  EXPECT_FALSE(is_white_space(0x200B));
}

TEST(Classes, NumbersAndWords) {
  for (const char32_t c : {U'7', U'\u00BD', U'\u0663', U'\u3007', U'\U0001E4F3', U'\U00011DE0'}) {
    EXPECT_TRUE(is_number(c)) << static_cast<unsigned>(c);
  }
  for (const char32_t c : {U'a', U'\u4E00', U' '}) EXPECT_FALSE(is_number(c));
  for (const char32_t c : {U'a', U'_', U'5', U'\u0301', U'\u200D', U'\u24B6', U'\U00031350'}) {
    EXPECT_TRUE(is_word_character(c)) << static_cast<unsigned>(c);
  }
  for (const char32_t c : {U' ', U'-', U'\u00BD', U'\U0001F600'})
    EXPECT_FALSE(is_word_character(c));
}

// How many code points the reference counts in each class (docs/tokenizer.md): says at once when the
// regular expression library of a system knows another Unicode version than we allow for.
TEST(Classes, RegularExpressionsSeeTheClassesOfUnicode16) {
  std::string all;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c < 0xD800 || c > 0xDFFF) append_utf8(all, c);
  }
  std::string proxy;
  ASSERT_TRUE(make_class_proxy(all, proxy));
  ASSERT_EQ(proxy.size(), all.size());
  const std::pair<const char*, std::size_t> classes[] = {
      {"\\p{L}", 141028}, {"\\p{N}", 1911},    {"\\s", 25},
      {"\\w", 144671},    {"[\\w]", 144665},   {"\\d", 760},
      {"\\p{M}", 2501},   {"\\p{Lu}", 1858},   {"\\p{^P}", 1112064 - 855},
      {"\\p{S}", 8514},   {"\\p{Han}", 99030}, {"\\p{Lo}", 136477},
      {"[^\\W]", 0},
  };
  for (const auto& [pattern, want] : classes) {
    if (want == 0) {
      EXPECT_THROW(Regex(pattern, "test", "pattern"), std::runtime_error);
      continue;
    }
    const Regex regex(pattern, "test", "pattern");
    RegexRun run(regex, proxy.size());
    std::size_t count = 0, from = 0;
    for (RegexRun::Match m; run.find(proxy, from, m); from = m.end) ++count;
    EXPECT_EQ(count, want) << pattern;
  }
}

TEST(Normalize, KnownPairs) {
  const auto nfc = [](const std::string& s) { return normalize_utf8(s, NormalForm::kNfc); };
  EXPECT_EQ(nfc(utf8({'e', 0x301})), utf8({0xE9}));
  EXPECT_EQ(nfc(utf8({0x212B})), utf8({0xC5}));
  EXPECT_EQ(nfc(utf8({'s', 0x323, 0x307})), utf8({0x1E69}));
  EXPECT_EQ(nfc(utf8({'s', 0x307, 0x323})), utf8({0x1E69}));
  EXPECT_EQ(nfc(utf8({0x1100, 0x1161, 0x11A8})), utf8({0xAC01}));
  EXPECT_EQ(nfc(utf8({0x958})), utf8({0x915, 0x93C}));  // excluded from composition
  EXPECT_EQ(normalize_utf8(utf8({0xE9}), NormalForm::kNfd), utf8({'e', 0x301}));
  EXPECT_EQ(normalize_utf8(utf8({0xFB01}), NormalForm::kNfkc), "fi");
  EXPECT_EQ(normalize_utf8(utf8({0xFB01}), NormalForm::kNfd), utf8({0xFB01}));
  EXPECT_EQ(nfc(std::string("a\0b", 3)), std::string("a\0b", 3));
  EXPECT_EQ(nfc(""), "");
}

// As the reference, whose table is older: these neither move nor combine.
TEST(Normalize, RecentCodePointsAreInert) {
  for (const std::string& s : {utf8({0x11935, 0x11930}), utf8({0x11938}),
                               utf8({'e', 0x1ACE, 0x323}), utf8({'e', 0x1E4EC, 0x301})}) {
    EXPECT_EQ(normalize_utf8(s, NormalForm::kNfc), s);
    EXPECT_EQ(normalize_utf8(s, NormalForm::kNfd), s);
  }
}

TEST(Normalize, ManyMarksTakeNoSquareOfTime) {
  std::string text = "a";
  for (int i = 0; i < 200'000; ++i) append_utf8(text, i % 2 == 0 ? 0x301 : 0x323);
  const std::string out = normalize_utf8(text, NormalForm::kNfd);
  EXPECT_EQ(out.substr(0, 5), utf8({'a', 0x323, 0x323}));
  EXPECT_EQ(out.size(), text.size());
}

}  // namespace
}  // namespace qx
