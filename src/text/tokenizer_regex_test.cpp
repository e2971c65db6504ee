// Tests of the translation from Oniguruma's syntax and of the bounds on time.
// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_regex.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace qx {
namespace {

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  const Regex regex(pattern, "test", "pattern");
  RegexRun run(regex, text.size());
  std::vector<std::string> found;
  RegexRun::Match m;
  for (std::size_t from = 0; from <= text.size() && run.find(text, from, m);) {
    found.push_back(text.substr(m.begin, m.end - m.begin));
    from = m.end > m.begin ? m.end : m.end + 1;
  }
  return found;
}

using Strings = std::vector<std::string>;

TEST(TokenizerRegex, SameInBothDialects) {
  EXPECT_EQ(matches(R"(\p{L}+|\p{N}{1,3})", "abc12345"), (Strings{"abc", "123", "45"}));
  EXPECT_EQ(matches(R"((?i:'s|'t))", "'S't's"), (Strings{"'S", "'t", "'s"}));
  EXPECT_EQ(matches(R"(\s+(?!\S)|\s+)", "  a "), (Strings{" ", " ", " "}));
  EXPECT_EQ(matches(R"([a-z]++|\x{e9}|\u00e9)", "ab\xC3\xA9"), (Strings{"ab", "\xC3\xA9"}));
  EXPECT_EQ(matches(R"(a{1,2}?)", "aa"), (Strings{"a", "a"}));
  EXPECT_EQ(matches(R"(x{|{,|\{)", "x{{,"), (Strings{"x{", "{,"}));
}

// Lines begin and end at \n always; . is all but \n, \r included; \v is the vertical tab.
TEST(TokenizerRegex, RubyMeaning) {
  EXPECT_EQ(matches("^.+$", "a\r\nb\n"), (Strings{"a\r", "b"}));
  EXPECT_EQ(matches(R"(\v)", "\x0b\n\r"), (Strings{"\x0b"}));
  EXPECT_EQ(matches(R"(\w)", "\xC2\xBD_-"), (Strings{"\xC2\xBD", "_"}));
  EXPECT_EQ(matches(R"([\w])", "\xC2\xBD_-"), (Strings{"_"}));
  EXPECT_EQ(matches(R"(\W)", "\xC2\xBD_-"), (Strings{"-"}));
}

TEST(TokenizerRegex, RefusedByName) {
  for (const char* pattern : {"",
                              "(",
                              "a)",
                              "[a",
                              "[]a]",
                              "[a[b]]",
                              "[[:alpha:]]",
                              "[a&&b]",
                              "\\",
                              "\\h",
                              "\\b",
                              "[\\W]",
                              "\\R",
                              "\\X",
                              "\\K",
                              "\\G",
                              "\\1",
                              "\\k<a>",
                              "\\g<a>",
                              "\\pL",
                              "\\p{",
                              "\\p{Nothing}",
                              "\\xff",
                              "\\x{zz}",
                              "\\x{}",
                              "\\x{110000}",
                              "\\u12",
                              "(?m:.)",
                              "(?s).",
                              "(?x) a",
                              "a(?i)b",
                              "(?<n>a)",
                              "(?#c)",
                              "(*UTF)",
                              "(?P<n>a)",
                              "(?R)",
                              "a{1,2}+",
                              "a{2}?",
                              "a{,2}",
                              "(?<=a+)b",
                              "a**",
                              "\xFF",
                              "(?i:"}) {
    EXPECT_THROW(Regex(pattern, "test", "pattern"), Error) << pattern;
  }
  EXPECT_THROW(Regex(std::string(100'000, 'a'), "test", "pattern"), Error);
  EXPECT_THROW(Regex(std::string(500, '(') + std::string(500, ')'), "test", "pattern"), Error);
  EXPECT_THROW(Regex("(?:(?:a{9999}){9999}){9999}", "test", "pattern"), Error);
  try {
    Regex("a\\h", "dir/tokenizer.json", "pre_tokenizer.pattern");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()),
              "[dir/tokenizer.json] pre_tokenizer.pattern: got a regular expression with \\h (at "
              "byte 3), "
              "which is not supported");
  }
}

// Exponential and quadratic patterns end in an error, and soon.
TEST(TokenizerRegex, RunawayPatternsEnd) {
  EXPECT_THROW(matches("(a+)+$", std::string(64, 'a') + "b"), Error);
  EXPECT_THROW(matches("(?:a|aa|aaa)*[bc]", std::string(5'000, 'a')), Error);
  EXPECT_THROW(matches(".*(?=[bc])x|a", std::string(20'000, 'a')), Error);
}

// Nothing here backtracks, yet every match looks at all of the text: 2e10 characters in all.
TEST(TokenizerRegex, SlowPatternsEndAtTheTimeLimit) {
  const std::string text(200'000, 'a');
  const Regex regex("(?=a++[bc])|a", "test", "pattern");
  RegexRun run(regex, text.size(), 0.05);
  EXPECT_THROW(for (RegexRun::Match m{0, 0}; run.find(text, m.end, m);){}, Error);
}

// The patterns of real tokenizers stay far below the bound on the texts that are hardest for them.
TEST(TokenizerRegex, LongRunsAreFine) {
  const std::string qwen =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  for (const char* unit : {" ", "a", "\n", "1", "-", " \n", "\t ", "\xC2\xA0", "\xE7\x9A\x84"}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    EXPECT_FALSE(matches(qwen, text + "x").empty()) << unit;
  }
}

}  // namespace
}  // namespace qx
