// SPDX-License-Identifier: Apache-2.0
#include "io/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "io/test_files.h"

namespace qx {
namespace {

using namespace testing_files;

TEST(ParseJson, KeepsTheOrderOfKeysAndTheKindsOfNumbers) {
  const Json json =
      parse_json(R"({"b": [1, -2, 3.5], "a": {"x": null, "y": true}, "c": "\u00e9"})", "t");
  EXPECT_EQ(json.begin().key(), "b");
  EXPECT_EQ(json["b"][0], 1);
  EXPECT_EQ(json["b"][1], -2);
  EXPECT_EQ(json["b"][2], 3.5);
  EXPECT_TRUE(json["a"]["x"].is_null());
  EXPECT_EQ(json["c"], "\xC3\xA9");
  EXPECT_EQ(parse_json(" 7 ", "t"), 7);
}

TEST(ParseJson, DepthIsLimited) {
  const auto nested = [](int n) { return std::string(n, '[') + std::string(n, ']'); };
  EXPECT_NO_THROW(parse_json(nested(200), "t"));
  expect_error([&] { parse_json(nested(201), "t"); }, "deeper than 200");
  expect_error([&] { parse_json(std::string(5'000'000, '['), "t"); }, "deeper than 200");
  std::string objects;
  for (int i = 0; i < 1000; ++i) objects += "{\"a\":";
  expect_error([&] { parse_json(objects, "t"); }, "deeper than 200");
}

TEST(ParseJson, BadTextIsAnErrorWithPlaceAndByte) {
  expect_error([] { parse_json("", "file.json"); }, "[file.json]");
  expect_error([] { parse_json("{\"a\": 1,}", "t"); }, "byte 8");
  expect_error([] { parse_json("[1] 2", "t"); }, "byte 4");
  expect_error([] { parse_json("{\"a\": 1", "t"); }, "not valid JSON");
  expect_error([] { parse_json("\"\xC3\x28\"", "t"); }, "UTF-8");
  expect_error([] { parse_json("\"\xED\xA0\x80\"", "t"); }, "UTF-8");
  expect_error([] { parse_json("\"\xF8\x88\x80\x80\x80\"", "t"); }, "UTF-8");
  expect_error([] { parse_json("\"\\ud800\"", "t"); }, "not valid JSON");
  expect_error([] { parse_json("\"a\nb\"", "t"); }, "not valid JSON");
  expect_error([] { parse_json(std::string("[1]\0", 4), "t"); }, "not valid JSON");
  expect_error([] { parse_json("{\"a\": 1, \"a\": 2}", "t"); }, "key 'a' appears twice");
}

TEST(ParseJson, NumbersOutOfRange) {
  expect_error([] { parse_json("[NaN]", "t"); }, "got NaN");
  expect_error([] { parse_json("[Infinity]", "t"); }, "got Infinity");
  expect_error([] { parse_json("[-Infinity]", "t"); }, "got Infinity");
  expect_error([] { parse_json("1e999", "t"); }, "not valid JSON");
  EXPECT_EQ(parse_json("18446744073709551615", "t").get<std::uint64_t>(), UINT64_MAX);
  EXPECT_EQ(parse_json("1000000000000000019884624838656", "t").get<double>(), 1e30);
  EXPECT_EQ(parse_json("1e-999", "t").get<double>(), 0.0);
}

TEST(ParseJson, ALargeObjectTakesLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += fmt::format("{}\"key{}\": {}", i == 0 ? "" : ",", i, i);
  const Json json = parse_json(text + "}", "t");  // quadratic work would take minutes
  EXPECT_EQ(json.size(), 200'000u);
}

TEST(Utf8, WellFormedTextOnly) {
  for (const char* good : {"", "a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
                           "\xF4\x8F\xBF\xBF", "\xED\x9F\xBF", "\xEE\x80\x80"}) {
    EXPECT_TRUE(is_valid_utf8(good)) << good;
  }
  for (const char* bad :
       {"\x80", "\xC1\xBF", "\xC3", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "a\xE2\x82", "\xFF"}) {
    EXPECT_FALSE(is_valid_utf8(bad)) << bad;
  }
}

TEST(JsonMembers, TypesAreChecked) {
  const Json json = parse_json(
      R"({"i": 3, "f": 2.5, "b": true, "s": "x", "n": null, "u": 18446744073709551615,
          "inf": {"__float__": "Infinity"}})",
      "t");
  EXPECT_EQ(json_int(json, "i", "t"), 3);
  EXPECT_EQ(json_number(json, "i", "t"), 3.0);
  EXPECT_EQ(json_number(json, "f", "t"), 2.5);
  EXPECT_TRUE(json_bool(json, "b", "t"));
  EXPECT_EQ(json_string(json, "s", "t"), "x");
  EXPECT_EQ(json_int_or(json, "n", 9, "t"), 9);
  EXPECT_EQ(json_int_or(json, "absent", 9, "t"), 9);
  EXPECT_EQ(json_number_or(json, "absent", 1.5, "t"), 1.5);
  EXPECT_EQ(json_string_or(json, "absent", "d", "t"), "d");
  EXPECT_TRUE(json_bool_or(json, "absent", true, "t"));
  EXPECT_EQ(json_number(json, "inf", "t"), std::numeric_limits<double>::infinity());
  expect_error([&] { json_int(json, "s", "cfg"); },
               "[cfg] key 's': got string \"x\", expected integer");
  expect_error([&] { json_int(json, "f", "t"); }, "expected integer");
  expect_error([&] { json_int(json, "u", "t"); }, "expected integer");
  expect_error([&] { json_int(json, "absent", "t"); }, "key 'absent' is missing");
  expect_error([&] { json_bool_or(json, "i", true, "t"); }, "expected true or false");
  expect_error([&] { json_string(json, "i", "t"); }, "expected string");
  expect_error([&] { json_number(json, "b", "t"); }, "expected number");
  expect_error([] { json_int(Json::array(), "i", "t"); }, "expected an object");
}

TEST(JsonFile, MissingLargeAndBroken) {
  const TestFolder scratch;
  write_text(scratch / "a.json", "[1, 2]");
  EXPECT_EQ(read_json_file(scratch / "a.json").size(), 2u);
  expect_error([&] { read_json_file(scratch / "a.json", 3); }, "got 6 bytes, expected at most 3");
  expect_error([&] { read_json_file(scratch / "none.json"); }, "none.json");
  write_text(scratch / "empty.json", "");
  expect_error([&] { read_json_file(scratch / "empty.json"); }, "got nothing");
}

// Expected texts are those of Python 3.11's json.dumps.
TEST(DumpJson, FloatsAsPythonsRepr) {
  const std::pair<double, const char*> cases[] = {
      {0.0, "0.0"},
      {-0.0, "-0.0"},
      {1.0, "1.0"},
      {100000.0, "100000.0"},
      {1e15, "1000000000000000.0"},
      {1e16, "1e+16"},
      {1.5e300, "1.5e+300"},
      {0.0001, "0.0001"},
      {1e-5, "1e-05"},
      {1e-6, "1e-06"},
      {0.1, "0.1"},
      {123.456, "123.456"},
      {-2.5e-7, "-2.5e-07"},
      {5e-324, "5e-324"},
      {1.7976931348623157e308, "1.7976931348623157e+308"},
      {0.30000000000000004, "0.30000000000000004"},
      {123456789012345680.0, "1.2345678901234568e+17"},
      {9007199254740993.0, "9007199254740992.0"}};
  for (const auto& [value, text] : cases) EXPECT_EQ(dump_json(value, -1, false, true), text);
}

TEST(DumpJson, LayoutAndEscapes) {
  const Json json = parse_json(
      R"({"b": [], "a": {}, "c": [1, {"z": "\u0001\"\\\n/\u007f", "y": "\ud83d\ude00\u00e9"}], "d": null})",
      "t");
  EXPECT_EQ(
      dump_json(json, -1, false, true),
      R"({"b": [], "a": {}, "c": [1, {"z": "\u0001\"\\\n/\u007f", "y": "\ud83d\ude00\u00e9"}], "d": null})");
  EXPECT_EQ(dump_json(json["c"], -1, false, false),
            "[1, {\"z\": \"\\u0001\\\"\\\\\\n/\x7F\", \"y\": \"\xF0\x9F\x98\x80\xC3\xA9\"}]");
  EXPECT_EQ(dump_json(json["c"], 2, true, true),
            "[\n  1,\n  {\n    \"y\": \"\\ud83d\\ude00\\u00e9\",\n    \"z\": "
            "\"\\u0001\\\"\\\\\\n/\\u007f\"\n  }\n]");
  EXPECT_EQ(dump_json(json, 4, true, true).substr(0, 26), "{\n    \"a\": {},\n    \"b\": []");
  EXPECT_EQ(dump_json(std::numeric_limits<double>::infinity(), -1, false, true),
            "{\"__float__\": \"Infinity\"}");
}

}  // namespace
}  // namespace qx
