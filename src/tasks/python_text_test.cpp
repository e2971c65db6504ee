// Expected values are what CPython 3.11 gives. tests/parity/test_eval.py compares whole task definitions.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/python_text.h"

#include <gtest/gtest.h>

namespace qx {
namespace {

TEST(PythonText, SpacesAreThoseOfIsspace) {
  int count = 0;
  for (char32_t c = 0; c < 0x110000; ++c) count += python_is_space(c) ? 1 : 0;
  EXPECT_EQ(count, 29);
  EXPECT_FALSE(python_is_space(0x200B));  // zero width space
  EXPECT_FALSE(python_is_space(0x180E));
  EXPECT_FALSE(python_is_space(0xFEFF));
}

TEST(PythonText, Strip) {
  EXPECT_EQ(python_strip(" \t\n\x1C\u00A0a b\u2003\u3000\u0085\r"), "a b");
  EXPECT_EQ(python_rstrip(" a\u2028"), " a");
  EXPECT_EQ(python_lstrip("\u00A0 a "), "a ");
  EXPECT_EQ(python_strip("\u200Ba\u200B"), "\u200Ba\u200B");
  EXPECT_EQ(python_strip(" \u00A0 "), "");
  EXPECT_EQ(python_strip(""), "");
}

TEST(PythonText, InvalidUtf8IsLeftAlone) {
  EXPECT_EQ(python_strip(" \xFF\x80 "), "\xFF\x80");
  EXPECT_EQ(python_strip("\xA0"), "\xA0");  // half of a NBSP is no NBSP
  EXPECT_EQ(python_strip("\x80\x80\x80\x80\x80"), "\x80\x80\x80\x80\x80");
  EXPECT_EQ(python_capitalize("a\xC3"), "A\xC3");
  EXPECT_EQ(python_len("\xF0\x9F"), 2);
}

TEST(PythonText, LengthCountsCodePoints) {
  EXPECT_EQ(python_len(""), 0);
  EXPECT_EQ(python_len("naïve"), 5);
  EXPECT_EQ(python_len("e\u0301😀"), 3);
}

TEST(PythonText, Capitalize) {
  EXPECT_EQ(python_capitalize("he Ran to NYC"), "He ran to nyc");
  EXPECT_EQ(python_capitalize(""), "");
  EXPECT_EQ(python_capitalize(" abC"), " abc");
  EXPECT_EQ(python_capitalize("éCOLE"), "École");
  EXPECT_EQ(python_capitalize("ßA"), "Ssa");
  EXPECT_EQ(python_capitalize("ﬃx"), "Ffix");
  EXPECT_EQ(python_capitalize("ǆ"), "ǅ");  // a title case of its own
  EXPECT_EQ(python_capitalize("xİ"), "Xi\u0307");
  EXPECT_EQ(python_capitalize("İx"), "İx");
  EXPECT_EQ(python_capitalize("ΐ"), "\u0399\u0308\u0301");
  EXPECT_EQ(python_capitalize("ა"), "ა");  // Georgian has no title case
}

TEST(PythonText, FinalSigma) {
  EXPECT_EQ(python_capitalize("ΟΔΟΣ"), "Οδος");
  EXPECT_EQ(python_capitalize("ΟΔΟΣ ΟΔΟΣ"), "Οδος οδος");
  EXPECT_EQ(python_capitalize("ΑΣΑ"), "Ασα");
  EXPECT_EQ(python_capitalize("ΑΣ.Α"), "Ασ.α");  // the full stop is ignored
  EXPECT_EQ(python_capitalize("ΑΣ\u0301"), "Ας\u0301");
  EXPECT_EQ(python_capitalize("1Σ"), "1σ");  // no letter before
}

TEST(PythonText, Replace) {
  EXPECT_EQ(python_replace("a    b", "  ", " "), "a  b");  // once, left to right
  EXPECT_EQ(python_replace("aaa", "aa", "b"), "ba");
  EXPECT_EQ(python_replace("abc", "x", "y"), "abc");
}

}  // namespace
}  // namespace qx
