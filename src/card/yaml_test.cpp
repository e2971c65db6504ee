// SPDX-License-Identifier: Apache-2.0
#include "card/yaml.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace qx {
namespace {

std::string yaml_error(const std::string& text) {
  try {
    parse_yaml(text, "card.md", 2);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Yaml, ReadsTheCoreSchema) {
  const YamlDocument doc = parse_yaml(
      "a: 1\nb: -2.5\nc: text with:colon\nd: '1'\ne: null\nf: true\ng: no\nh: 1.2.3\ni: 0x10\n"
      "j:\n- x\n- {k: [1, 2]}\nk/l: +3\nm:\nn: .inf\no: 1_000\n",
      "card.md", 2);
  EXPECT_EQ(doc.value["a"], 1);
  EXPECT_EQ(doc.value["b"], -2.5);
  EXPECT_EQ(doc.value["d"], "1");
  EXPECT_TRUE(doc.value["e"].is_null());
  EXPECT_EQ(doc.value["f"], true);
  EXPECT_EQ(doc.value["g"], "no");
  EXPECT_EQ(doc.value["h"], "1.2.3");
  EXPECT_EQ(doc.value["i"], "0x10");
  EXPECT_EQ(doc.value["j"][1]["k"][1], 2);
  EXPECT_EQ(doc.value["k/l"], 3);
  EXPECT_TRUE(doc.value["m"].is_null());
  EXPECT_EQ(doc.value["n"], ".inf");
  EXPECT_EQ(doc.value["o"], "1_000");
  EXPECT_EQ(doc.lines.at("/a"), 2u);
  EXPECT_EQ(doc.lines.at("/j/1/k/0"), 13u);
  EXPECT_EQ(doc.lines.at("/k~1l"), 14u);
  EXPECT_TRUE(parse_yaml("", "card.md", 2).value.is_null());
  EXPECT_EQ(parse_yaml("a: 1\r\nb: [x]\r\n", "card.md", 2).value["b"][0], "x");
}

TEST(Yaml, RefusesWhatCanHarm) {
  // Nine lines that stand for a thousand million values.
  std::string bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c < 'j'; ++c) {
    const std::string before(1, static_cast<char>(c - 1));
    bomb += std::string(1, c) + ": &" + std::string(1, c) + " [*" + before + ", *" + before + "]\n";
  }
  EXPECT_NE(yaml_error(bomb).find("card.md:2] got a YAML anchor"), std::string::npos)
      << yaml_error(bomb);
  EXPECT_NE(yaml_error("a: *x\n"), "");
  EXPECT_NE(yaml_error("<<: {a: 1}\n<<: {b: 1}\n").find("twice"), std::string::npos);
  EXPECT_NE(yaml_error(std::string(2000, '[')), "");
  EXPECT_NE(yaml_error("a: " + std::string(40, '[') + std::string(40, ']')).find("nested"),
            std::string::npos);
  EXPECT_NE(yaml_error("a: 1\na: 2\n").find("card.md:3] got key 'a' twice"), std::string::npos);
  EXPECT_NE(yaml_error("? [a]\n: 1\n").find("as a key"), std::string::npos);
  EXPECT_NE(yaml_error("a: 1\n---\nb: 2\n").find("second"), std::string::npos);
  EXPECT_NE(yaml_error(std::string("a: 1\0b", 6)).find("NUL"), std::string::npos);
  EXPECT_NE(yaml_error("a: \xFF\n").find("UTF-8"), std::string::npos);
  EXPECT_NE(yaml_error("a: {b\n"), "");
  EXPECT_NE(yaml_error("a: \"b\\_c\"\n").find("card.md:2] got an escape"), std::string::npos);
  EXPECT_NE(yaml_error(std::string(kMaxYamlBytes + 1, 'x')).find("bytes of YAML"),
            std::string::npos);
  std::string many;
  for (std::size_t i = 0; i <= kMaxYamlValues; ++i) many += "- 1\n";
  EXPECT_NE(yaml_error(many).find("values"), std::string::npos);
}

TEST(Yaml, WritesWhatItReads) {
  Json json;
  json["license"] = "apache-2.0";
  json["language"] = Json::array({"en", "no", "zh"});
  json["tags"] = Json::array({"mlx", "1.0", "yes", "a: b", "# x", "", " lead", "null", "-",
                              "Zürich", "line\nbreak", "*star", "it's \"quoted\"", "12e3", "~"});
  json["empty"] = Json::array();
  json["nested"] = Json{{"value", 0.375}, {"n", 40}, {"yes", true}, {"none", nullptr}};
  json["n"] = -1.5;
  const std::string text = yaml_text(json);
  EXPECT_EQ(parse_yaml(text, "card.md", 1).value, json) << text;
  // Python's YAML 1.1 reader takes a bare no for false.
  EXPECT_NE(text.find("\"no\""), std::string::npos) << text;
  EXPECT_NE(text.find("\"1.0\""), std::string::npos) << text;
  EXPECT_NE(text.find("\"n\": -1.5"), std::string::npos) << text;
}

}  // namespace
}  // namespace qx
