// SPDX-License-Identifier: Apache-2.0
#include "card/card_text.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace qx {
namespace {

std::string error_of(const std::string& text) {
  try {
    read_card(text, "card.md");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(CardText, FindsFrontMatterTablesAndLists) {
  const std::string text =
      "---\nlicense: mit\n---\n# Title\n\n## Scores\n\n| task | *a* | b |\n|---|---:|---|\n"
      "| `x\\|y` | **1** | 2 |\n| z | 3 |\n\n- an *item*\n* another\n```\n| no | table |\n- no "
      "item\n"
      "```\n<!-- qx card {\"run\": \"a\"} -->\n";
  for (const bool crlf : {false, true}) {
    std::string input = text;
    if (crlf) {
      for (std::size_t i = 0; i < input.size(); ++i) {
        if (input[i] == '\n') input.insert(i++, "\r");
      }
      input = "\xEF\xBB\xBF" + input;
    }
    const CardText card = read_card(input, "card.md");
    ASSERT_TRUE(card.front);
    EXPECT_EQ(card.front->value["license"], "mit");
    EXPECT_EQ(card.front->lines.at("/license"), 2u);
    ASSERT_EQ(card.tables.size(), 1u);
    EXPECT_EQ(card.tables[0].heading, "Scores");
    EXPECT_EQ(card.tables[0].header.cells, (std::vector<std::string>{"task", "a", "b"}));
    EXPECT_EQ(card.tables[0].header.line, 8u);
    ASSERT_EQ(card.tables[0].rows.size(), 2u);
    EXPECT_EQ(card.tables[0].rows[0].cells, (std::vector<std::string>{"x|y", "1", "2"}));
    EXPECT_EQ(card.tables[0].rows[1].line, 11u);
    ASSERT_EQ(card.items.size(), 2u);
    EXPECT_EQ(card.items[0].text, "an item");
    EXPECT_EQ(card.items[1].line, 14u);
    EXPECT_EQ(card.origin["run"], "a");
    EXPECT_EQ(card.headings, (std::vector<std::string>{"Title", "Scores"}));
  }
}

TEST(CardText, ACardNeedsNoFrontMatter) {
  EXPECT_FALSE(read_card("# Title\n---\ntext\n", "card.md").front);
  EXPECT_FALSE(read_card("", "card.md").front);
  EXPECT_TRUE(read_card("---\n---\n", "card.md").front->value.is_object());
  EXPECT_TRUE(read_card("\n\n---\na: 1\n---", "card.md").front);
}

TEST(CardText, BadCardsAreMessages) {
  EXPECT_NE(error_of("---\nlicense: mit\n").find("card.md:1] got front matter without an end"),
            std::string::npos);
  EXPECT_NE(error_of("---\n- a\n---\n").find("front matter that is array"), std::string::npos);
  EXPECT_NE(error_of("---\na: &x 1\n---\n").find("card.md:2]"), std::string::npos);
  EXPECT_NE(error_of("\xFF").find("UTF-8"), std::string::npos);
  EXPECT_NE(error_of(std::string(kMaxCardBytes + 1, ' ')).find("at most"), std::string::npos);
  EXPECT_NE(error_of("<!-- qx card {broken -->\n").find("card.md:1"), std::string::npos);
  EXPECT_NE(error_of("<!-- qx card {} -->\n<!-- qx card {} -->\n").find("second"),
            std::string::npos);
}

TEST(CardText, NamesTakeNoEffect) {
  // A name with every mark of Markdown comes back as one cell, and the row has as many as were
  // written.
  const std::string name = "a|b*c`d[e](f)<script>\\\n\x1b[31m";
  const std::string table = markdown_table({"x", "y"}, {{markdown_text(name), "1"}});
  EXPECT_EQ(table.find("<script"), std::string::npos);
  EXPECT_EQ(table.find('\x1b'), std::string::npos);
  const CardText card = read_card(table, "card.md");
  ASSERT_EQ(card.tables[0].rows.size(), 1u);
  ASSERT_EQ(card.tables[0].rows[0].cells.size(), 2u);
  EXPECT_EQ(card.tables[0].rows[0].cells[0].substr(0, 12), "a|b*c`d[e](f");
}

TEST(CardText, OriginIsReadBack) {
  const Json origin{{"run", "a --> <b> \"q\""}, {"with", Json::array({"é"})}};
  const std::string comment = origin_comment(origin);
  EXPECT_EQ(comment.find("-->"), comment.size() - 4);
  EXPECT_EQ(read_card(comment, "card.md").origin, origin);
}

}  // namespace
}  // namespace qx
