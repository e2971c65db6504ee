// The recipe file format: names, rules, layers, and the messages for what is wrong in a file.
// SPDX-License-Identifier: Apache-2.0
#include "recipe/recipe.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "recipe/name_pattern.h"

namespace qx {
namespace {

Recipe parse(const std::string& text) {
  return parse_recipe(text, "r.json", std::nullopt);
}

void expect_error(const std::string& text, const std::string& part) {
  try {
    parse(text);
    ADD_FAILURE() << "accepted " << text;
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

// A rule inside an otherwise valid file.
void expect_rule_error(const std::string& rule, const std::string& part) {
  expect_error(R"({"name":"t","bits":4,"rules":[{"roles":"q","bits":8},)" + rule + "]}", part);
}

void expect_usage(const std::string& name, const std::string& part) {
  try {
    find_recipe(name);
    ADD_FAILURE() << "accepted " << name;
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

TEST(NamePattern, Match) {
  const auto match = match_name("qx{H}{L}", {"-hi"}, "qx63-hi");
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ(match->values.at("H"), 6);
  EXPECT_EQ(match->values.at("L"), 3);
  EXPECT_EQ(match->suffix, "-hi");
  for (const char* text : {"", "qx", "qx6", "qx63-", "qx63-lo", "qx63x", "qy63", "xqx63", "qxab"}) {
    EXPECT_FALSE(match_name("qx{H}{L}", {"-hi"}, text).has_value()) << text;
  }
  EXPECT_EQ(placeholders("a{H}b{L}c"), (std::vector<std::string>{"H", "L"}));
  EXPECT_TRUE(match_name("a{b", {}, "a{b").has_value());
}

TEST(Glob, Match) {
  EXPECT_TRUE(glob_match("*v_proj*", "model.layers.0.self_attn.v_proj"));
  EXPECT_TRUE(glob_match("model.layers.?.mlp.*", "model.layers.3.mlp.up_proj"));
  EXPECT_FALSE(glob_match("model.layers.?.mlp.*", "model.layers.13.mlp.up_proj"));
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("a*b*c", "aXbYbZc"));
  EXPECT_FALSE(glob_match("a*b*c", "aXbYbZ"));
  EXPECT_FALSE(glob_match("abc", "abcd"));
  EXPECT_FALSE(glob_match("", "a"));
  // Many stars must not take exponential time.
  EXPECT_FALSE(glob_match("*a*a*a*a*a*a*a*a*a*a*a*b", std::string(2000, 'a')));
}

TEST(Recipe, EveryShippedNameResolves) {
  for (const char* name :
       {"q2", "q3", "q4", "q5", "q6", "q8", "q4-hi", "qx63", "qx86-hi", "qx64x", "qx86x-hi", "qx32",
        "mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6", "bf16", "f16", "f32"}) {
    EXPECT_EQ(find_recipe(name).name, name);
  }
  EXPECT_EQ(find_recipe("q4").spec, (AffineSpec{4, 64}));
  EXPECT_EQ(find_recipe("q4-hi").spec, (AffineSpec{4, 32}));
  EXPECT_EQ(find_recipe("qx63x-hi").rules[0].spec, (AffineSpec{6, 32}));
  EXPECT_TRUE(find_recipe("f16").is_float);
}

TEST(Recipe, NamesThatNoRecipeHas) {
  expect_usage("q7", "expected one of [2,3,4,5,6,8]");
  expect_usage("qx36", "expected H above L");
  expect_usage("qx66-hi", "expected H above L");
  expect_usage("qx93", "H = 9");
  for (const char* name : {"", "q", "q44", "Q4", "q4-lo", "qx6", "mixed_2_4", "bf16-hi", "gptq"}) {
    expect_usage(name, "qx{H}{L}[-hi]");
  }
}

TEST(Recipe, LayerPositions) {
  const Recipe r = parse(R"({"name":"t","bits":4,"rules":[{"roles":"q","bits":8,
    "layers":[0,-1,{"from":"1/8","before":"7/8","every":3,"offset":2}]}]})");
  const auto& layers = *r.rules[0].layers;
  EXPECT_EQ(layers[0].from.resolve(36), 0);
  EXPECT_EQ(layers[1].from.resolve(36), 35);
  EXPECT_EQ(layers[2].from.resolve(36), 4);
  EXPECT_EQ(layers[2].before->resolve(36), 31);
  EXPECT_EQ(layers[2].before->resolve(30), 26);
}

TEST(Recipe, FileErrorsNameFileRuleAndKey) {
  expect_error("", "r.json");
  expect_error("[]", "expected an object");
  expect_error("{\n  \"name\": \"t\",\n  \"bits\": }", "r.json:3");
  expect_error(R"({"name":"t","bits":4,"group":32})", "unknown key 'group'");
  expect_error(R"({"bits":4})", "name");
  expect_error(R"({"name":"","bits":4})", "name");
  expect_error(R"({"name":7,"bits":4})", "name");
  expect_error(R"({"name":"t"})", "'bits' nor 'float'");
  expect_error(R"({"name":"t","bits":7})", "got 7, expected 2, 3, 4, 5, 6 or 8");
  expect_error(R"({"name":"t","bits":-4})", "bits");
  expect_error(R"({"name":"t","bits":1e9})", "bits");
  expect_error(R"({"name":"t","bits":"H"})", "no placeholder");
  expect_error(R"({"name":"t","bits":4,"group_size":16})", "32, 64 or 128");
  expect_error(R"({"name":"t","bits":4,"mode":"mxfp4"})", "expected \"affine\"");
  expect_error(R"({"name":"t","float":true,"dtype":"int8"})", "dtype");
  expect_error(R"({"name":"t{H}","bits":"H","parameters":{"H":{"values":[4]}}})", "placeholders");
  expect_error(R"({"name":"t","bits":4,"parameters":{"H":{"values":[4]}}})", "does not hold");
  expect_error(R"({"name":"t","bits":4,"suffixes":{"-hi":{"bits":3}}})", "unknown key 'bits'");
  expect_error(R"({"name":"t","bits":4,"floors":{"routr":{"bits":8}}})", "floors.routr");
  expect_error(R"({"name":"t","bits":4,"floors":{"router":{"group_size":64}}})", "bits");
  expect_error(R"({"name":"t","bits":4,"rules":{}})", "rules");
  expect_error(std::string(2 << 20, ' '), "at most");
  // A number that no double holds is an error of ours like any other, with its line.
  expect_error("{\n\"bits\": 1e999}", "r.json:2");
}

TEST(Recipe, RuleErrors) {
  expect_rule_error(R"("x")", "r.json: rules[1]");
  expect_rule_error(R"({"role":"q","bits":8})", "unknown key 'role'");
  expect_rule_error(R"({"bits":8})", "'match', 'roles' or 'layers'");
  expect_rule_error(R"({"roles":"q"})", "neither");
  expect_rule_error(R"({"roles":"q","bits":4,"float":true})", "both");
  expect_rule_error(R"({"roles":"q","float":true,"group_size":32})", "rules[1]");
  expect_rule_error(R"({"roles":"qq","bits":4})", "rules[1].roles] got 'qq'");
  expect_rule_error(R"({"roles":[],"bits":4})", "rules[1].roles");
  expect_rule_error(R"({"match":[1],"bits":4})", "rules[1].match");
  expect_rule_error(R"({"match":"","bits":4})", "rules[1].match");
  expect_rule_error(R"({"layers":[],"bits":4})", "rules[1].layers");
  expect_rule_error(R"({"layers":{},"bits":4})", "rules[1].layers");
  expect_rule_error(R"({"layers":{"first":1},"bits":4})", "unknown key 'first'");
  expect_rule_error(R"({"layers":{"every":0},"bits":4})", "every");
  expect_rule_error(R"({"layers":{"every":2,"offset":2},"bits":4})", "offset");
  expect_rule_error(R"({"layers":[{"every":2},"x"],"bits":4})", "rules[1].layers[1]");
  for (const char* position : {R"("9/8")", R"("1/0")", R"("1/")", R"("1/8x")", "1.5", "99999999999",
                               "18446744073709551615", "null", R"("-1/8")"}) {
    expect_rule_error(fmt::format(R"({{"layers":{{"from":{}}},"bits":4}})", position), "from");
  }
}

TEST(Recipe, AFileTakesItsValuesFromItsName) {
  std::string pattern = testing::TempDir() + "/qx_recipe_XXXXXX";
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  const std::filesystem::path dir = pattern;
  const auto write = [&](const std::string& name, const std::string& text) {
    std::ofstream(dir / name, std::ios::binary) << text;
    return (dir / name).string();
  };
  const std::string text = R"({"name":"my{H}","parameters":{"H":{"values":[4,8]}},"bits":"H"})";
  const Recipe eight = find_recipe(write("my8.json", text));
  EXPECT_EQ(eight.name, "my8");
  EXPECT_EQ(eight.spec.bits, 8);
  EXPECT_THROW(find_recipe(write("other.json", text)), Error);
  EXPECT_THROW(find_recipe(write("my5.json", text)), UsageError);
  EXPECT_EQ(find_recipe(write("file.json", R"({"name":"fixed","bits":5})")).name, "fixed");
  EXPECT_THROW(find_recipe((dir / "missing.json").string()), Error);
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace qx
