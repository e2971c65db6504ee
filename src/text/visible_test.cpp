// SPDX-License-Identifier: Apache-2.0
#include "text/visible.h"

#include <gtest/gtest.h>

namespace qx {
namespace {

TEST(Visible, ControlAndFormatCharactersBecomeEscapes) {
  EXPECT_EQ(visible_text("a\x1b[31mb\x07\x7f", Blanks::kPlain), "a\\x1b[31mb\\x07\\x7f");
  // CSI as one C1 character, a bidirectional override, a zero-width space, a no-break space, a line separator.
  EXPECT_EQ(visible_text("\u009b1m\u202e\u200b\u00a0\u2028", Blanks::kPlain),
            "\\u{9b}1m\\u{202e}\\u{200b}\\u{a0}\\u{2028}");
  EXPECT_EQ(visible_text("\xff\xc3", Blanks::kPlain), "\\xff\\xc3");
  EXPECT_EQ(visible_text("é世😀", Blanks::kVisible), "é世😀");
  EXPECT_EQ(without_controls("a \x1b]0;title\x07\n b\r"), "a \\x1b]0;title\\x07\n b\\r");
}

TEST(Visible, BlanksThatMatterAreMarked) {
  EXPECT_EQ(visible_text("a b \n\nc  ", Blanks::kPlain), "a b␣↵\n↵\nc␣␣");
  EXPECT_EQ(visible_text(" a\tb\n", Blanks::kVisible), "␣a\\tb↵");
  EXPECT_EQ(visible_text(" a b  c \nd ", Blanks::kEdges), "␣a b␣␣c␣↵d␣");
}

TEST(Visible, WrapsBetweenWordsAndLosesNothing) {
  EXPECT_EQ(wrap_text("one two three", 10, "| "), "| one two\n| three\n");
  EXPECT_EQ(wrap_text("abcdefgh", 5, "| "), "| abc\n| def\n| gh\n");
  EXPECT_EQ(wrap_text("a\n\nb", 9, "| "), "| a\n| \n| b\n");
  EXPECT_EQ(wrap_text("世界世界", 5, ""), "世界\n世界\n");
  EXPECT_EQ(wrap_text("", 9, "| "), "");
  EXPECT_EQ(wrap_text("世", 1, "---"), "---世\n");
}

TEST(Visible, WidthsAndCuts) {
  EXPECT_EQ(display_width("a世é"), 4);
  EXPECT_EQ(cut_to_width("abcdef", 6), "abcdef");
  EXPECT_EQ(cut_to_width("abcdef", 4), "abc…");
  EXPECT_EQ(cut_to_width("世界", 3), "世…");
}

}  // namespace
}  // namespace qx
