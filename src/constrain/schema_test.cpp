// Tests of schemas as grammars: which texts are generated, which keywords are refused.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "constrain/grammar_states.h"
#include "constrain/key_scanner.h"
#include "constrain/schema_check.h"

namespace qx {
namespace {

bool generates(GrammarStates& states, std::string_view text) {
  WalkState state = states.start();
  for (const char c : text) {
    state = states.next(state, static_cast<std::uint8_t>(c));
    if (state == kNoState) return false;
  }
  return states.set(state).complete;
}

struct Case {
  const char* schema;
  std::vector<const char*> good, bad;
};

TEST(Schema, TextsOfKeywords) {
  const Case cases[] = {
      {R"({"type": "string"})", {R"("")", R"("aé\n")"}, {"1", R"("a)", "\"\n\"", "null"}},
      {R"({"type": "string", "minLength": 2, "maxLength": 3})",
       {R"("ab")", R"("éé\n")", R"("\ud83d\ude00a")"},
       {R"("a")", R"("abcd")", R"("\ud83d\ude00")"}},
      {R"({"type": "string", "pattern": "^a+$", "maxLength": 2})",
       {R"("a")", R"("aa")"},
       {R"("")", R"("aaa")", R"("b")"}},
      {R"({"type": "integer", "minimum": -3, "exclusiveMaximum": 12})",
       {"-3", "0", "11"},
       {"-4", "12", "1.0", "-0", "00"}},
      {R"({"type": "integer", "multipleOf": 7})", {"0", "-14", "700"}, {"1", "-7.0", "15"}},
      {R"({"type": "number", "minimum": 0.5})", {"0.5", "0.51", "7"}, {"0.49", "-1", "0"}},
      {R"({"type": ["null", "boolean"]})", {"null", "true", "false"}, {"0", "\"\""}},
      {R"({"enum": ["a", 1, null, {"x": [1]}]})",
       {R"("a")", "1", "null", R"({"x":[1]})"},
       {"2", "\"b\""}},
      {R"({"enum": ["a", "bb", 3], "type": "string", "minLength": 2})",
       {R"("bb")"},
       {R"("a")", "3"}},
      {R"({"const": 1.5})", {"1.5"}, {"1", "1.50"}},
      {R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "null"}},
           "required": ["a"]})",
       {R"({"a":1})", R"({"a": 1, "b": null})", "{\n  \"a\": 2,\n  \"b\": null\n}"},
       {"{}", R"({"b":null})", R"({"b":null,"a":1})", R"({"a":1,"c":2})", R"({"a":1,})"}},
      {R"({"properties": {"a": true, "b": true, "c": true}, "additionalProperties": false})",
       {"{}", R"({"a":1})", R"({"b":[]})", R"({"a":"","c":{}})"},
       {R"({"d":1})", R"({,"a":1})", R"({"c":1,"a":1})"}},
      {R"({"type": "object", "properties": {"a": {"type": "null"}},
           "additionalProperties": {"type": "integer"}})",
       {"{}", R"({"a":null,"z":1})", R"({"z":1,"y":2})"},
       {R"({"a":1})", R"({"z":null})", R"({"z":1,"a":null})"}},
      {R"({"type": "object", "minProperties": 1, "maxProperties": 2})",
       {R"({"a":1})", R"({"a":1,"b":[{}]})"},
       {"{}", R"({"a":1,"b":2,"c":3})"}},
      {R"({"required": ["x"]})", {R"({"x":[1,{"y":"z"}]})"}, {"{}", "1"}},
      {R"({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3})",
       {"[1]", "[1, 2]", "[1,2,3]", "[\n 1\n]"},
       {"[]", "[1,2,3,4]", "[null]", "[1,]"}},
      {R"({"prefixItems": [{"type": "null"}, {"type": "integer"}], "minItems": 1})",
       {"[null]", "[null,1]"},
       {"[]", "[1]", "[null,1,2]"}},
      {R"({"items": [{"type": "null"}], "additionalItems": {"type": "integer"}, "minItems": 2})",
       {"[null,1]", "[null,1,2]"},
       {"[null]", "[null,null]"}},
      {R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1]"}},
      {R"({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]})",
       {"5", R"("a")"},
       {R"("ab")", "null"}},
      {R"({"type": "object", "properties": {"k": {"type": "string"}},
           "oneOf": [{"properties": {"k": {"const": "a"}, "n": {"type": "integer"}}, "required": ["k", "n"]},
                     {"properties": {"k": {"const": "b"}}, "required": ["k"]}]})",
       {R"({"k":"a","n":1})", R"({"k":"b"})"},
       {R"({"k":"a"})", R"({"k":"b","n":1})", R"({"k":"c"})"}},
      {R"({"allOf": [{"type": "integer", "minimum": 1}, {"maximum": 5}, {"type": "number"}]})",
       {"1", "5"},
       {"0", "6", "1.5"}},
      {R"({"allOf": [{"properties": {"a": {"minimum": 3}}, "required": ["a"]},
                     {"properties": {"a": {"type": "integer", "maximum": 4}, "b": {"type": "null"}}}]})",
       {R"({"a":3})", R"({"a":4,"b":null})"},
       {R"({"a":5})", "{}", R"({"a":3,"b":1})"}},
      {R"({"$defs": {"list": {"type": "object", "properties": {"v": {"type": "integer"},
           "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/list"}]}}, "required": ["v", "next"]}},
           "$ref": "#/$defs/list"})",
       {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":null}})"},
       {R"({"v":1})", R"({"v":1,"next":{"v":2}})"}},
      {R"({"type": "array", "items": {"$ref": "#"}})", {"[]", "[[],[[]]]"}, {"[1]", "[["}},
      {R"({"$ref": "#/definitions/a~1b%25", "definitions": {"a/b%": {"const": 1}}})", {"1"}, {"2"}},
      {"true", {"1", R"({"a":[true,null,-1.5e3]})", "\"x\""}, {"nul", "[", ""}},
      {R"({"type": "string", "format": "date"})",
       {R"("2024-02-28")", R"("0001-12-31")"},
       {R"("2024-02-30")", R"("0000-01-01")", R"("2024-1-1")"}},
      {R"({"type": "string", "format": "somewhat"})", {R"("x")"}, {"1"}},
      {R"({"properties": {"a": false, "b": {"type": "null"}}})",
       {"{}", R"({"b":null})"},
       {R"({"a":1})"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.schema);
    const Json schema = parse_json(c.schema, "test");
    GrammarStates states(compile_schema(schema, "test"));
    for (const char* text : c.good) {
      EXPECT_TRUE(generates(states, text)) << text;
      EXPECT_TRUE(text_satisfies(text, schema)) << text;
    }
    for (const char* text : c.bad) EXPECT_FALSE(generates(states, text)) << text;
  }
}

TEST(Schema, RefusesByNameAndPlace) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"type": "thing"})", "type: got \"thing\""},
      {R"({"properties": {"a": {"not": {}}}})", "test: #/properties/a] got keyword 'not'"},
      {R"({"uniqueItems": true})", "keyword 'uniqueItems'"},
      {R"({"if": {}})", "keyword 'if'"},
      {R"({"patternProperties": {}})", "keyword 'patternProperties'"},
      {R"({"frobnicate": 1})", "keyword 'frobnicate'"},
      {R"({"enum": []})", "enum: got []"},
      {R"({"minLength": -1})", "minLength: got -1"},
      {R"({"minimum": "1"})", "minimum: got \"1\""},
      {R"({"type": "number", "multipleOf": 0.1})", "multipleOf: got 0.1"},
      {R"({"multipleOf": 0})", "multipleOf: got 0"},
      {R"({"$ref": "#/nope"})", "$ref: got '#/nope'"},
      {R"({"$ref": "http://x/y"})", "$ref: got 'http://x/y'"},
      {R"({"$ref": "#"})", "refers to itself"},
      {R"({"anyOf": [{"$ref": "#"}]})", "refers to itself"},
      {R"({"type": "object", "anyOf": [{"$ref": "#"}]})", "lead to each other"},
      {R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})",
       "oneOf: got alternatives 0 and 1"},
      {R"({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]})",
       "oneOf: got alternatives 0 and 1"},
      {R"({"type": "integer", "minimum": 5, "maximum": 4})", "no value satisfies"},
      {R"({"type": "string", "pattern": "^a$", "minLength": 2})", "no value satisfies"},
      {R"({"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]})",
       "no value satisfies"},
      {"false", "no value satisfies"},
      {R"([1])", "expected a schema"},
      {R"({"properties": {"a": true}, "maxProperties": 0})", "maxProperties: got 0"},
      {"{\"type\": \"string\", \"pattern\": \"(?=x)\"}", "pattern: got"},
      {R"({"items": [1]})", "items: got [1]"},
      {R"({"required": "a"})", "required: got \"a\""},
  };
  for (const auto& [schema, message] : cases) {
    SCOPED_TRACE(schema);
    try {
      compile_schema(parse_json(schema, "test"), "test");
      FAIL();
    } catch (const Error& e) {
      EXPECT_NE(std::string_view(e.what()).find(message), std::string_view::npos) << e.what();
    }
  }
}

TEST(Schema, LargeOnesAreRefusedSoon) {
  Json product = Json::object();  // 2^20 combinations of alternatives
  product["allOf"] = Json::array();
  for (int i = 0; i < 20; ++i) {
    const std::string name = "k" + std::to_string(i);
    product["allOf"].push_back(
        {{"anyOf", {{{"required", {name}}}, {{"properties", {{name, {{"type", "null"}}}}}}}}});
  }
  EXPECT_THROW(compile_schema(product, "test"), Error);
  Json deep = true;
  for (int i = 0; i < 5000; ++i) deep = {{"items", std::move(deep)}};
  EXPECT_THROW(compile_schema(deep, "test"), Error);
}

// n alternatives that stay alike for long, in each other: the states must not multiply.
TEST(Schema, AmbiguityCostsLittle) {
  const Json schema = parse_json(R"({"$defs": {
      "a": {"type": "array", "items": {"$ref": "#/$defs/c"}, "minItems": 1},
      "b": {"type": "array", "items": {"$ref": "#/$defs/c"}, "maxItems": 3},
      "c": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}, {"type": "integer"}]}},
      "$ref": "#/$defs/c"})",
                                 "test");
  GrammarStates states(compile_schema(schema, "test"));
  const std::string open(40, '['), close(40, ']');
  EXPECT_TRUE(generates(states, open + close));
  EXPECT_TRUE(generates(states, open + "1,2" + close));
  EXPECT_FALSE(generates(states, open + std::string(39, ']')));
}

TEST(Schema, NestingEndsAtTheLimit) {
  GrammarStates states(compile_schema(true, "test"));
  const auto nested = [](int levels) {
    return std::string(static_cast<std::size_t>(levels), '[') +
           std::string(static_cast<std::size_t>(levels), ']');
  };
  EXPECT_TRUE(generates(states, nested(kMaxLevels)));
  EXPECT_FALSE(generates(states, nested(kMaxLevels + 1)));
}

TEST(Schema, CheckerKnowsWhatTheGrammarNarrows) {
  const auto check = [](const char* text, const char* schema) {
    return text_satisfies(text, parse_json(schema, "test"));
  };
  EXPECT_TRUE(check("{\"b\":1,\"a\":2}", R"({"properties": {"a": true, "b": true}})"));
  EXPECT_TRUE(check("1.0", R"({"type": "integer"})"));
  EXPECT_FALSE(check("1.5", R"({"type": "integer"})"));
  EXPECT_FALSE(check("{\"c\":1}", R"({"additionalProperties": false})"));
  EXPECT_FALSE(check("1", R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})"));
  EXPECT_FALSE(check("[1,2]", R"({"maxItems": 1})"));
  EXPECT_FALSE(check("\"ab\"", R"({"maxLength": 1})"));
  EXPECT_TRUE(check("\"é\"", R"({"maxLength": 1})"));
  EXPECT_FALSE(check("5", R"({"multipleOf": 2})"));
  EXPECT_FALSE(check("{", "true"));
}

TEST(KeyScanner, FindsKeysThatComeTwice) {
  KeyScanner keys;
  keys.take(R"({"a":{"a":[{"b":"a)");
  EXPECT_FALSE(keys.repeats_key(R"(","c":1)"));
  EXPECT_TRUE(keys.repeats_key(R"(","b":1)"));
  EXPECT_TRUE(keys.repeats_key(R"("}]},"a")"));
  EXPECT_FALSE(keys.repeats_key(R"("}]},"aa")"));
  EXPECT_TRUE(keys.repeats_key(R"("}],"z":{"x":1,"x")"));
  EXPECT_FALSE(keys.repeats_key(R"("}],"z":["x","x"])"));
  keys.take(R"(\"","c)");
  EXPECT_TRUE(keys.repeats_key("\":1,\"b\""));
  EXPECT_FALSE(keys.repeats_key("c\":1"));
}

}  // namespace
}  // namespace qx
