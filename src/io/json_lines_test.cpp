// Which line a value of a JSON text stands on.
// SPDX-License-Identifier: Apache-2.0
#include "io/json_lines.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"

namespace qx {
namespace {

std::string error_in(const std::string& text) {
  try {
    parse_located_json(text, "f.json");
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(JsonLines, EveryValueHasItsLine) {
  const LocatedJson json = parse_located_json(
      "\n{\n  \"a\": 1,\n  \"b\": [\n    10,\n    20\n  ],\n"
      "  \"c\":\n    {\"d\": {\n      \"e\": null\n    }}\n}\n",
      "f");
  EXPECT_EQ(json.value["b"][1], 20);
  const std::map<std::string, std::int64_t, std::less<>> expected = {
      {"", 2}, {"a", 3}, {"b", 4}, {"b[0]", 5}, {"b[1]", 6}, {"c", 8}, {"c.d", 9}, {"c.d.e", 10}};
  EXPECT_EQ(json.lines, expected);
  EXPECT_EQ(parse_located_json("\n\n7", "f").lines.at(""), 3);
  EXPECT_EQ(parse_located_json("\n\n7\n", "f").lines.at(""), 3);
}

// The count goes on from value to value, and a number is known only by the character behind it.
TEST(JsonLines, CountsOnThroughEveryKindOfValue) {
  const char* values[] = {"1", "2.5", "\"x\"", "[]", "{}", "null", "[1\n,2\n]", "{\"k\":3\n}"};
  std::string text = "[";
  std::map<std::string, std::int64_t, std::less<>> expected = {{"", 1}};
  std::int64_t line = 1;
  for (int i = 0; i < 4000; ++i) {
    const std::string value = values[i * 7 % 8];
    const std::string gap(static_cast<std::size_t>(i * 5 % 3), '\n');
    // A comma behind a line's end, or before it.
    text += gap + (i == 0 ? "" : ",") + (i % 2 == 0 ? "\n" : "") + value;
    line += std::count(gap.begin(), gap.end(), '\n') + (i % 2 == 0 ? 1 : 0);
    const std::string path = "[" + std::to_string(i) + "]";
    expected[path] = line;
    if (value.size() > 5) {
      const bool array = value[0] == '[';
      expected[path + (array ? "[0]" : ".k")] = line;
      if (array) expected[path + "[1]"] = line + 1;
      line += std::count(value.begin(), value.end(), '\n');
    }
  }
  const LocatedJson json = parse_located_json(text + "\n]", "f");
  EXPECT_EQ(json.lines, expected);
}

TEST(JsonLines, WhatIsNoJsonIsNamedWithItsLine) {
  EXPECT_EQ(error_in("{\n\"a\": 1,\n\"a\": 2}"),
            "[f.json:3] key 'a' appears twice in one object, expected each key once");
  EXPECT_EQ(error_in("{\n\"a\": 1\n\"b\": 2}").substr(0, 12), "[f.json:3] n");
  EXPECT_EQ(error_in("").substr(0, 12), "[f.json:1] n");
  EXPECT_EQ(error_in("[1]\n]").substr(0, 12), "[f.json:2] n");
  EXPECT_EQ(error_in("[\"\xFF\"]").substr(0, 12), "[f.json:1] n");
  EXPECT_EQ(error_in(std::string("[\n\0]", 4)), "[f.json:2] not valid JSON: got a NUL byte");
  EXPECT_NE(error_in(std::string(300, '[')).find("nested deeper"), std::string::npos);
  EXPECT_NE(error_in("[NaN]"), "no error");
}

}  // namespace
}  // namespace qx
