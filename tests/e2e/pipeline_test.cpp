// The whole job through the command line: on a tiny random model made on the spot, and on SmolLM2.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "run_qx.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

// Relative names of everything below a directory, hidden files included.
std::set<std::string> listing(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    names.insert(fs::relative(entry.path(), directory).string());
  }
  return names;
}

void expect_equal_files(const fs::path& a, const fs::path& b, const std::string& name) {
  EXPECT_TRUE(read_text(a / name) == read_text(b / name)) << name;
  EXPECT_FALSE(read_text(a / name).empty()) << name;
}

class Tiny : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    root_ = fresh_directory(std::string("tiny_") + GetParam());
    TinyModel model;
    model.family = GetParam();
    model.tied = model.family == "qwen2";
    write_tiny_model(base(), model);
  }
  fs::path base() const { return root_ / "base"; }
  fs::path convert(const std::string& recipe, const std::vector<std::string>& more = {},
                   const std::string& name = "") {
    const fs::path out = root_ / (name.empty() ? recipe : name);
    std::vector<std::string> command{"convert", "-m", base(), "-o", out, "--recipe", recipe};
    command.insert(command.end(), more.begin(), more.end());
    const Outcome o = run_qx(command);
    EXPECT_EQ(o.exit_code, 0) << o.err;
    return out;
  }
  fs::path root_;
};

TEST_P(Tiny, PlanEqualsTheConversionAndInspectMeasuresIt) {
  for (const char* recipe : {"q4-hi", "qx63-hi", "mixed_3_6", "bf16"}) {
    const Json plan = run_json({"plan", "-m", base(), "--recipe", recipe});
    const fs::path out = convert(recipe);
    const Json measured = run_json({"inspect", out});
    EXPECT_EQ(plan.at("tensor_bytes"), measured.at("tensor_bytes")) << recipe;
    EXPECT_EQ(plan.at("bits_per_weight"), measured.at("bits_per_weight")) << recipe;
    EXPECT_EQ(plan.at("plan_hash"), measured.at("plan_hash")) << recipe;
    EXPECT_EQ(plan.at("parameters"), measured.at("parameters")) << recipe;
    EXPECT_EQ(plan.at("tensors").size(), measured.at("tensors").size()) << recipe;
  }
}

TEST_P(Tiny, ThreadsAndInstructionSetsGiveTheSameBytes) {
  const fs::path one = convert("qx63-hi", {"--threads", "1", "--isa", "scalar"}, "one");
  const fs::path three = convert("qx63-hi", {"--threads", "3"}, "three");
  expect_equal_files(one, three, "model.safetensors");
  const auto generate = [&](const std::vector<std::string>& more) {
    std::vector<std::string> command{"generate",     "-m", one,          "-p", "abc",
                                     "--max-tokens", "12", "--logprobs", "3"};
    command.insert(command.end(), more.begin(), more.end());
    const Json j = run_json(command);
    return dump_json(Json{{"t", j.at("tokens")}, {"l", j.at("logprobs")}}, 0, false, false);
  };
  const std::string reference = generate({"--threads", "1", "--isa", "scalar"});
  EXPECT_EQ(generate({"--threads", "3"}), reference);
}

TEST_P(Tiny, TargetsAreRefusedUnlessForced) {
  const fs::path out = convert("q4");
  const std::string before = read_text(out / "model.safetensors");
  const Outcome again = run_qx({"convert", "-m", base(), "-o", out, "--recipe", "q3"});
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_NE(again.err.find("--force"), std::string::npos) << again.err;
  EXPECT_TRUE(read_text(out / "model.safetensors") == before);
  EXPECT_EQ(run_qx({"convert", "-m", base(), "-o", out, "--recipe", "q3", "--force"}).exit_code, 0);
  EXPECT_FALSE(read_text(out / "model.safetensors") == before);
  EXPECT_EQ(listing(root_).count(".q4.qx-partial"), 0u);
}

// The record of how a model was made is no part of it.
TEST_P(Tiny, ATornRecordIsAProblemAndTheModelIsSound) {
  const fs::path out = convert("q4-hi");
  const Json whole = run_json({"inspect", out});
  EXPECT_EQ(whole.at("recipe"), "q4-hi");
  for (const char* torn : {"{\"plan_hash\": \"", "", "[1]", "{\"plan_hash\": 7}"}) {
    std::ofstream(out / "qx_plan.json", std::ios::trunc) << torn;
    const Json inspected = run_json({"inspect", out});
    EXPECT_EQ(inspected.at("plan_hash"), whole.at("plan_hash")) << torn;
    EXPECT_TRUE(inspected.at("recipe").is_null()) << inspected.at("recipe").dump();
    ASSERT_EQ(inspected.at("warnings").size(), 1u) << torn;
    EXPECT_NE(inspected.at("warnings")[0].get<std::string>().find("qx_plan.json"),
              std::string::npos);
  }
}

TEST_P(Tiny, QuantizedSourcesNeedAPermissionAndFloatRecipesRestore) {
  const fs::path q4 = convert("q4-hi");
  const fs::path out = root_ / "again";
  const Outcome refused = run_qx({"convert", "-m", q4, "-o", out, "--recipe", "q3"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("--allow-requantize"), std::string::npos) << refused.err;
  EXPECT_FALSE(fs::exists(out));
  EXPECT_EQ(run_qx({"convert", "-m", q4, "-o", out, "--recipe", "f32"}).exit_code, 0);
  // float32 holds fma(scale, code, bias) exactly, so both directories answer alike.
  const auto score = [&](const fs::path& model) {
    const Outcome o = run_qx({"score", "-m", model, "--precision", "reference", "--requests", "-"},
                             "{\"context\":\"hello\",\"continuation\":\" world\"}\n");
    EXPECT_EQ(o.exit_code, 0) << o.err;
    return o.out;
  };
  EXPECT_EQ(score(q4), score(out));
}

TEST_P(Tiny, EvalContinuesAndIsTheSameForAnyThreadCount) {
  const fs::path q4 = convert("q4-hi");
  const auto evaluate = [&](const fs::path& runs, const std::vector<std::string>& more) {
    std::vector<std::string> command{"eval",    "-m",  base(), "-m", q4,
                                     "--tasks", "all", "-o",   runs, "--plain"};
    command.insert(command.end(), more.begin(), more.end());
    const Outcome o = run_qx(command);
    EXPECT_EQ(o.exit_code, 0) << o.err;
  };
  evaluate(root_ / "whole", {"--limit", "6", "--threads", "1"});
  evaluate(root_ / "grown", {"--limit", "2", "--threads", "2"});
  evaluate(root_ / "grown", {"--limit", "6", "--threads", "2"});
  for (const char* name : {"base", "q4-hi"}) {
    for (const char* task :
         {"arc_challenge", "arc_easy", "boolq", "hellaswag", "openbookqa", "piqa", "winogrande"}) {
      const std::string file = std::string(name) + "/answers-" + task + ".jsonl";
      expect_equal_files(root_ / "whole", root_ / "grown", file);
    }
  }
  const Json compared = run_json({"compare", root_ / "whole/base", root_ / "whole/q4-hi"});
  EXPECT_EQ(compared.at("baseline"), "base");
  EXPECT_EQ(compared.at("tasks").size(), 7u);
  for (const Json& task : compared.at("tasks")) EXPECT_EQ(task.at("n"), 6);
  EXPECT_FALSE(compared.at("paragraph").get<std::string>().empty());
}

TEST_P(Tiny, TokenizeRoundTrips) {
  const Outcome ids = run_qx({"tokenize", "-m", base(), "Grüße, 世界!"});
  EXPECT_EQ(ids.exit_code, 0) << ids.err;
  const Outcome text = run_qx({"tokenize", "-m", base(), "--decode", ids.out});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_EQ(text.out, "Grüße, 世界!\n");
}

INSTANTIATE_TEST_SUITE_P(Families, Tiny, testing::Values("qwen3", "qwen2", "llama"));

TEST(BadModels, EveryDamageIsAMessageAndNoOutput) {
  const fs::path root = fresh_directory("damage");
  const fs::path model = root / "model";
  write_tiny_model(model, TinyModel{});
  const std::string weights = read_text(model / "model.safetensors");
  const std::string config = read_text(model / "config.json");
  const auto expect_refused = [&](const std::string& what) {
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"convert", "-m", model, "-o", root / "out", "--recipe", "q4"},
          std::vector<std::string>{"generate", "-m", model, "-p", "x", "--max-tokens", "1"}}) {
      const Outcome o = run_qx(command);
      EXPECT_EQ(o.exit_code, 1) << what << " / " << command[0] << ": " << o.err;
      EXPECT_EQ(o.err.rfind("qx " + command[0] + ": [", 0), 0u) << what << ": " << o.err;
      EXPECT_EQ(o.err.find("please report"), std::string::npos) << what << ": " << o.err;
      EXPECT_FALSE(fs::exists(root / "out")) << what;
      EXPECT_FALSE(fs::exists(root / ".out.qx-partial")) << what;
    }
  };
  const auto write = [&](const std::string& name, const std::string& text) {
    std::ofstream(model / name, std::ios::binary) << text;
  };
  write("model.safetensors", weights.substr(0, weights.size() / 2));
  expect_refused("truncated weights");
  write("model.safetensors", "");
  expect_refused("empty weights");
  std::string huge = weights;
  huge.replace(0, 8, std::string(8, '\x7f'));
  write("model.safetensors", huge);
  expect_refused("huge header length");
  std::string nan = weights;
  nan.replace(nan.size() - 4, 4, "\xff\xff\xff\xff");
  write("model.safetensors", nan);
  expect_refused("NaN in the last tensor");
  write("model.safetensors", weights);
  write("config.json", "{\"model_type\": \"mamba\"}");
  expect_refused("another architecture");
  write("config.json", config.substr(0, config.size() - 5));
  expect_refused("broken JSON");
  write("config.json", std::string(100000, '['));
  expect_refused("deep nesting");
  write("config.json", config);
  EXPECT_EQ(run_qx({"convert", "-m", model, "-o", root / "out", "--recipe", "q4"}).exit_code, 0);
}

TEST(BadModels, AnUnwritableTargetIsAnError) {
  const fs::path root = fresh_directory("unwritable");
  write_tiny_model(root / "model", TinyModel{});
  const Outcome o =
      run_qx({"convert", "-m", root / "model", "-o", "/proc/qx/out", "--recipe", "q4"});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("/proc/qx"), std::string::npos) << o.err;
}

TEST(BadData, BrokenRowsNameFileAndLine) {
  const fs::path root = fresh_directory("data");
  write_tiny_model(root / "model", TinyModel{});
  const std::string good = R"({"goal":"a","sol1":"b","sol2":"c","label":0})";
  const std::vector<std::string> broken = {"{",
                                           "[1]",
                                           R"({"goal":"a","sol1":"b","label":0})",
                                           R"({"goal":"a","sol1":"b","sol2":"c","label":2})",
                                           R"({"goal":"a","sol1":"b","sol2":"c","label":-1})",
                                           R"({"goal":1,"sol1":"b","sol2":"c","label":0})"};
  for (const std::string& row : broken) {
    std::ofstream(root / "piqa.jsonl") << good << "\n" << row << "\n";
    const Outcome o = run_qx(
        {"eval", "-m", root / "model", "--tasks", "piqa", "--data", root, "-o", root / "runs"});
    EXPECT_EQ(o.exit_code, 1) << row;
    EXPECT_NE(o.err.find("piqa.jsonl:2"), std::string::npos) << o.err;
    EXPECT_FALSE(fs::exists(root / "runs/model/results.json"));
  }
}

class SmolLM2 : public testing::Test {
 protected:
  // Imported and converted once for all tests.
  static void SetUpTestSuite() {
    const fs::path gguf = smollm2_gguf();
    if (gguf.empty()) return;
    root_ = fresh_directory("smollm2");
    EXPECT_EQ(run_qx({"import", gguf, "-o", root_ / "base"}).exit_code, 0);
    const Outcome o =
        run_qx({"convert", "-m", root_ / "base", "-o", root_ / "q4-hi", "--recipe", "q4-hi"});
    EXPECT_EQ(o.exit_code, 0) << o.err;
  }
  static void TearDownTestSuite() {
    if (!root_.empty()) fs::remove_all(root_);
  }
  void SetUp() override {
    if (root_.empty())
      GTEST_SKIP() << "SmolLM2 is not in the cache; tools/fetch_smollm2.sh fetches it";
  }
  static inline fs::path root_;
};

TEST_F(SmolLM2, SizesAreThoseOfTheFormat) {
  const Json base = run_json({"inspect", root_ / "base"});
  const Json q4 = run_json({"inspect", root_ / "q4-hi"});
  EXPECT_EQ(base.at("parameters"), 134515008);
  EXPECT_EQ(base.at("tensor_bytes"), 269030016);
  // 134,479,872 weights in matrices at 5 bits, 35,136 norm weights at 16.
  EXPECT_EQ(q4.at("tensor_bytes"), 84120192);
  EXPECT_NEAR(q4.at("bits_per_weight").get<double>(), 5.003, 0.001);
}

TEST_F(SmolLM2, KnowsTheCapitalOfFrance) {
  const Json j = run_json({"generate", "-m", root_ / "q4-hi", "-p",
                           "What is the capital of France?", "--max-tokens", "30"});
  EXPECT_NE(j.at("text").get<std::string>().find("Paris"), std::string::npos) << j.dump();
}

TEST_F(SmolLM2, LongPromptsWorkAndTooLongOnesAreRefused) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += " word";
  const Outcome long_one = run_qx({"generate", "-m", root_ / "q4-hi", "--ignore-chat-template",
                                   "-p", "-", "--max-tokens", "2", "--json"},
                                  text);
  EXPECT_EQ(long_one.exit_code, 0) << long_one.err;
  EXPECT_GE(parse_json(long_one.out, "out").at("prompt_tokens"), 2000);
  for (int i = 0; i < 7000; ++i) text += " word";
  const Outcome too_long =
      run_qx({"generate", "-m", root_ / "q4-hi", "--ignore-chat-template", "-p", "-"}, text);
  EXPECT_EQ(too_long.exit_code, 1);
  EXPECT_NE(too_long.err.find("8192"), std::string::npos) << too_long.err;
}

TEST_F(SmolLM2, AnswersTheShippedTasksBetterThanChance) {
  const Json j = run_json({"eval", "-m", root_ / "q4-hi", "--tasks", "arc_easy,hellaswag", "-o",
                           root_ / "runs", "--plain"});
  const Json results = parse_json(read_text(root_ / "runs/q4-hi/results.json"), "results.json");
  EXPECT_GT(results.at("results").at("arc_easy").at("acc,none").get<double>(), 0.5);
  EXPECT_GT(results.at("results").at("hellaswag").at("acc_norm,none").get<double>(), 0.6);
  const Json run = parse_json(read_text(root_ / "runs/q4-hi/run.json"), "run.json");
  for (const char* key : {"model", "tasks", "precision", "kv_bits", "kernels", "threads", "version",
                          "commit", "start", "end", "mode", "convention"}) {
    EXPECT_TRUE(run.contains(key)) << key;
  }
}

}  // namespace
}  // namespace qx::e2e
