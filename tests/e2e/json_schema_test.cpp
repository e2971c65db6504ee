// qx generate --json-schema: whatever a model with random weights would say, the text satisfies the
// schema.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>

#include "io/json.h"
#include "run_qx.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

class JsonSchema : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    root_ = fresh_directory("json_schema");
    write_tiny_model(root_ / "m", {.layers = 1});
  }
  static std::vector<std::string> arguments(const std::string& schema,
                                            const std::vector<std::string>& more,
                                            const std::string& max_tokens = "400") {
    const fs::path file = root_ / "schema.json";
    std::ofstream(file) << schema;
    std::vector<std::string> out = {
        "generate",      "-m",          (root_ / "m").string(), "-p",      "Hi", "--threads", "2",
        "--json-schema", file.string(), "--max-tokens",         max_tokens};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }

  static inline fs::path root_;
};

constexpr const char* kSchema = R"({
    "type": "object", "required": ["name", "n", "kind"], "properties": {
      "name": {"type": "string", "maxLength": 5}, "n": {"type": "integer", "minimum": 10, "maximum": 12},
      "kind": {"enum": ["x", "yy"]}, "list": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}}})";

TEST_F(JsonSchema, TextsSatisfyIt) {
  for (int seed = 0; seed < 6; ++seed) {
    const Json out = run_json(
        arguments(kSchema, {"--temp", seed == 0 ? "0" : "1.5", "--seed", std::to_string(seed)}));
    EXPECT_EQ(out.at("finish_reason"), "stop");
    const Json value = parse_json(out.at("text").get<std::string>(), "text");
    EXPECT_LE(value.at("name").get<std::string>().size(), 20U);
    EXPECT_GE(value.at("n").get<int>(), 10);
    EXPECT_LE(value.at("n").get<int>(), 12);
    EXPECT_TRUE(value.at("kind") == "x" || value.at("kind") == "yy");
    EXPECT_LE(value.size(), 4U);
  }
}

TEST_F(JsonSchema, EndsWithoutAStopToken) {
  // Nothing may follow a constant: the text ends there, though the model would go on.
  const Json out = run_json(arguments(R"({"const": [1, null]})", {}));
  EXPECT_EQ(out.at("text"), "[1,null]");
  EXPECT_EQ(out.at("finish_reason"), "stop");
  // Log-probabilities are of what the schema left.
  const Json scored = run_json(arguments(R"({"const": true})", {"--logprobs", "1"}));
  for (const Json& step : scored.at("logprobs"))
    EXPECT_NEAR(step.at("logprob").get<double>(), 0, 1e-6);
}

TEST_F(JsonSchema, SaysWhenTheTextWasCut) {
  const Outcome cut = run_qx(arguments(R"({"type": "string", "minLength": 50})", {}, "3"));
  EXPECT_EQ(cut.exit_code, 0);
  EXPECT_NE(cut.err.find("before it was a whole document"), std::string::npos) << cut.err;
}

TEST_F(JsonSchema, RefusesBadSchemas) {
  const Outcome keyword = run_qx(arguments(R"({"not": {}})", {}));
  EXPECT_EQ(keyword.exit_code, 1);
  EXPECT_NE(keyword.err.find("schema.json: #] got keyword 'not'"), std::string::npos)
      << keyword.err;
  const Outcome broken = run_qx(arguments("{", {}));
  EXPECT_EQ(broken.exit_code, 1);
  const Outcome prefill = run_qx(arguments("{}", {"--prefill-response", "{"}));
  EXPECT_EQ(prefill.exit_code, 2);
}

}  // namespace
}  // namespace qx::e2e
