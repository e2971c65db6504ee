// Texts from the fields of a row.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/text_template.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace qx {
namespace {

const Json& row() {
  static const Json kRow = parse_json(
      R"({"q": " a b ", "n": 3, "c": {"text": ["x", "y"]}, "s": "one_two_three", "l": ["p", 2]})",
      "row");
  return kRow;
}

std::string render(std::string_view source) {
  return TextTemplate(source, "d:1").render(row(), "f:7");
}

std::string render_error(std::string_view source) {
  try {
    render(source);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(TextTemplate, FieldsAndFilters) {
  EXPECT_EQ(render("plain"), "plain");
  EXPECT_EQ(render(""), "");
  EXPECT_EQ(render("Q:{q}|{ q | strip }"), "Q: a b |a b");
  EXPECT_EQ(render("{q|lstrip}.{q|rstrip}."), "a b . a b.");
  EXPECT_EQ(render("{c.text.0}{c.text.1|capitalize}"), "xY");
  EXPECT_EQ(render("{{q}} {{{l.0}}}"), "{q} {p}");
  EXPECT_EQ(render("{s|before('_')},{s|after('_')},{s|before_last('_')},{s|after_last('_')}"),
            "one,two_three,one_two,three");
  EXPECT_EQ(render("{s|replace('_', '|')}{s|replace('one_','}')}"), "one|two|three}two_three");
  EXPECT_EQ(render(R"({s|replace('_', '\'\\')})"), R"(one'\two'\three)");
  TextTemplate whole("{q}[x]{s}", "d:1");
  whole.set_filters(
      {parse_text_filter("remove_brackets", "d:1"), parse_text_filter("strip", "d:1")});
  EXPECT_EQ(whole.render(row(), "f"), "a b one_two_three");
}

TEST(TextTemplate, RowsThatDoNotFit) {
  EXPECT_EQ(render_error("{zz}"), "[f:7] field 'zz' is missing");
  EXPECT_EQ(render_error("{c.zz}"), "[f:7] field 'c.zz' is missing");
  EXPECT_EQ(render_error("{n}"), "[f:7] field 'n': got number, expected a string");
  EXPECT_EQ(render_error("{q.x}"), "[f:7] field 'q': got string, expected an object with 'x'");
  EXPECT_EQ(render_error("{l.x}"), "[f:7] field 'l': got an array, expected an object with 'x'");
  EXPECT_EQ(render_error("{l.2}"), "[f:7] field 'l': got 2 elements, expected more than 2");
  EXPECT_EQ(render_error("{l.99999999999999999999}"),
            "[f:7] field 'l': got an array, expected an object with '99999999999999999999'");
  EXPECT_EQ(render_error("{q|after('_')}"), "[f:7] field 'q': got no '_', expected one");
}

TEST(TextTemplate, SourcesThatAreWrong) {
  EXPECT_EQ(render_error("a {q"),
            "[d:1] got '{q' without its '}', expected {field}, or '{{' for a brace");
  EXPECT_EQ(render_error("a } b"),
            "[d:1] got a '}' that closes nothing, expected '}}' for a brace");
  EXPECT_EQ(render_error("{}"),
            "[d:1] got '', expected the name of a field, as question or choices.text");
  EXPECT_NE(render_error("{a..b}"), "no error");
  EXPECT_NE(render_error("{q|}"), "no error");
  EXPECT_EQ(render_error("{q|upper}").substr(0, 29), "[d:1] got the filter 'upper',");
  EXPECT_EQ(render_error("{q|strip('x')}"),
            "[d:1] got the filter \"strip('x')\", expected strip without arguments");
  EXPECT_EQ(render_error("{q|before}"), "[d:1] got the filter \"before\", expected before('text')");
  EXPECT_NE(render_error("{q|replace('a')}"), "no error");
  EXPECT_NE(render_error("{q|replace('a','b','c')}"), "no error");
  EXPECT_NE(render_error("{q|replace('a' 'b')}"), "no error");
  EXPECT_NE(render_error("{q|replace('', 'b')}"), "no error");
  EXPECT_NE(render_error("{q|before('x)}"), "no error");
  EXPECT_NE(render_error("{q|before('x\\"), "no error");
}

}  // namespace
}  // namespace qx
