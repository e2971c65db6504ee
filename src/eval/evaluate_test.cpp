// Whole evaluations of tiny random models on the shipped tasks.
// SPDX-License-Identifier: Apache-2.0
#include "eval/evaluate.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "eval/estimate.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace qx {
namespace {

class Evaluate : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("QX_CACHE", (temp_ / "cache").c_str(), 1);
    ::unsetenv("QX_DATA");
    write_tiny_model(temp_ / "a", TinyModel{});
    write_tiny_model(temp_ / "b", TinyModel{.family = "llama", .quantized = AffineSpec{4, 32}});
  }
  void TearDown() override { ::unsetenv("QX_CACHE"); }

  EvalRequest request(const std::string& runs) const {
    EvalRequest r;
    r.models = {{"a", temp_ / "a"}, {"b", temp_ / "b"}};
    r.tasks = parse_task_list("arc_easy,winogrande");
    r.runs = temp_ / runs;
    r.rows.limit = 5;
    r.chat = false;
    r.quiet = true;
    return r;
  }
  std::string answers(const std::string& file) const { return read_text(temp_ / file); }

  TestFolder temp_;
  ThreadPool pool_{2};
};

TEST_F(Evaluate, WritesAnswersResultsAndTheRun) {
  const EvalOutcome outcome = evaluate(request("runs"), pool_);
  ASSERT_EQ(outcome.models.size(), 2u);
  EXPECT_EQ(outcome.data[0].origin, "shipped");
  for (const char* name : {"a", "b"}) {
    const std::string folder = std::string("runs/") + name;
    const std::vector<Answer> list = read_answers(temp_ / (folder + "/answers-arc_easy.jsonl"));
    ASSERT_EQ(list.size(), 5u);
    for (std::int64_t i = 0; i < 5; ++i) EXPECT_EQ(list[static_cast<std::size_t>(i)].index, i);
    EXPECT_FALSE(
        read_answers(temp_ / (folder + "/answers-winogrande.jsonl"))[0].acc_norm.has_value());
    const Json run = read_json_file(temp_ / (folder + "/run.json"));
    EXPECT_EQ(run["mode"], "plain");
    EXPECT_EQ(run["convention"], "lm-eval");
    EXPECT_EQ(run["tasks"]["arc_easy"]["items"], 5);
    EXPECT_TRUE(run["end"].is_string());
    EXPECT_GT(run["model"]["tensor_bytes"], 0);
    const Json results = read_json_file(temp_ / (folder + "/results.json"));
    EXPECT_EQ(results["results"]["winogrande"]["sample_len"], 5);
  }
  EXPECT_NE(answers("runs/a/answers-arc_easy.jsonl"), answers("runs/b/answers-arc_easy.jsonl"));
}

TEST_F(Evaluate, KilledAnywhereItContinuesToTheSameBytes) {
  evaluate(request("runs"), pool_);
  const std::string file = "runs/a/answers-arc_easy.jsonl";
  const std::string whole = answers(file);
  const std::size_t lines[] = {
      0, 1, whole.find('\n'), whole.find('\n') + 1, whole.find('\n') + 40, whole.size() - 1};
  for (const std::size_t kept : lines) {
    write_text(temp_ / file, whole.substr(0, kept));
    std::filesystem::remove(temp_ / "runs/a/results.json");
    ThreadPool one(1);
    evaluate(request("runs"), one);
    EXPECT_EQ(answers(file), whole) << kept;
    EXPECT_TRUE(std::filesystem::exists(temp_ / "runs/a/results.json"));
  }
  // Answers out of order, as a killed run leaves them.
  const std::size_t first = whole.find('\n') + 1, second = whole.find('\n', first) + 1;
  write_text(temp_ / file, whole.substr(first, second - first) + whole.substr(0, first));
  evaluate(request("runs"), pool_);
  EXPECT_EQ(answers(file), whole);
}

TEST_F(Evaluate, AnswersSayWhichPassageTheyShareAndOlderOnesAreCompleted) {
  EvalRequest r = request("passages");
  r.tasks = parse_task_list("arc_easy,boolq");
  evaluate(r, pool_);
  const TaskData data = load_task_data(*r.tasks[1], std::nullopt, r.rows);
  const std::string file = "passages/a/answers-boolq.jsonl";
  const std::string whole = answers(file);
  const std::vector<Answer> list = read_answers(temp_ / file);
  ASSERT_EQ(list.size(), 5u);
  std::string old;
  for (std::size_t i = 0; i < list.size(); ++i) {
    EXPECT_EQ(list[i].cluster, data.items[i].item.cluster);
    EXPECT_EQ(list[i].cluster.size(), 16u);
    Answer before = list[i];
    before.cluster.clear();
    if (i < 3) old += answer_line(before) + '\n';
  }
  EXPECT_EQ(read_answers(temp_ / "passages/a/answers-arc_easy.jsonl")[0].cluster, "");
  // A version that knew no passages answered three of them.
  write_text(temp_ / file, old);
  evaluate(r, pool_);
  EXPECT_EQ(answers(file), whole);
  // Another passage is another question.
  std::string other = whole;
  char& digit = other[other.find("\"cluster\":\"") + 11];
  digit = digit == '0' ? '1' : '0';
  write_text(temp_ / file, other);
  EXPECT_THROW(evaluate(r, pool_), Error);
}

TEST_F(Evaluate, MoreItemsReuseWhatIsThere) {
  EvalRequest few = request("grown");
  few.rows.limit = 2;
  evaluate(few, pool_);
  // A recognizable answer: it must survive.
  const std::string file = "grown/a/answers-arc_easy.jsonl";
  std::string marked = answers(file);
  const std::size_t at = marked.find("\"ll\":") + 5;
  marked.replace(at, marked.find(',', at) - at, "-1.25");
  write_text(temp_ / file, marked);
  evaluate(request("grown"), pool_);
  EXPECT_EQ(answers(file).substr(0, marked.size()), marked);
  EXPECT_EQ(read_answers(temp_ / file).size(), 5u);
  EXPECT_THROW(evaluate(few, pool_), Error);  // fewer than the folder holds
}

TEST_F(Evaluate, AnswersToOtherQuestionsAreRefused) {
  evaluate(request("runs"), pool_);
  const std::string file = "runs/a/answers-arc_easy.jsonl";
  const std::string whole = answers(file);
  std::string other = whole;
  other[other.find("doc_hash\":\"") + 11] = 'x';
  write_text(temp_ / file, other);
  EXPECT_THROW(evaluate(request("runs"), pool_), Error);
  write_text(temp_ / file, whole + whole);
  EXPECT_THROW(evaluate(request("runs"), pool_), Error);
}

TEST_F(Evaluate, OtherRunsAreRefusedAndNothingChanges) {
  evaluate(request("runs"), pool_);
  const std::string before = answers("runs/a/answers-arc_easy.jsonl");
  EvalRequest chat = request("runs");
  chat.chat = true;
  EXPECT_THROW(evaluate(chat, pool_), Error);
  EvalRequest shifted = request("runs");
  shifted.rows.offset = 1;
  EXPECT_THROW(evaluate(shifted, pool_), Error);
  write_tiny_model(temp_ / "other", TinyModel{.seed = 9});
  EvalRequest other = request("runs");
  other.models = {{"a", temp_ / "other"}};
  EXPECT_THROW(evaluate(other, pool_), Error);
  EXPECT_EQ(answers("runs/a/answers-arc_easy.jsonl"), before);
  other.how = OpenRun::kStartOver;
  evaluate(other, pool_);
  EXPECT_NE(answers("runs/a/answers-arc_easy.jsonl"), before);
}

TEST_F(Evaluate, ChatIsTheDefaultWithATemplate) {
  EvalRequest r = request("chat");
  r.chat.reset();
  r.write_prompts = true;
  evaluate(r, pool_);
  const Json run = read_json_file(temp_ / "chat/a/run.json");
  EXPECT_EQ(run["mode"], "chat");
  EXPECT_EQ(run["convention"], "mlx-lm");
  EXPECT_TRUE(run["template_hash"].is_string());
  const std::string prompts = answers("chat/a/prompts-arc_easy.jsonl");
  const Json first = parse_json(prompts.substr(0, prompts.find('\n')), "prompt");
  EXPECT_NE(first["choices"][0]["context"].get<std::string>().find("<|im_start|>user\nQuestion: "),
            std::string::npos);
  EXPECT_EQ(first["choices"][0]["scored"][1], first["choices"][0]["ids"].size());

  write_tiny_model(temp_ / "bare", TinyModel{.chat_template = false});
  r.models = {{"bare", temp_ / "bare"}};
  evaluate(r, pool_);
  EXPECT_EQ(read_json_file(temp_ / "chat/bare/run.json")["mode"], "plain");
  r.chat = true;
  EXPECT_THROW(evaluate(r, pool_), UsageError);
}

TEST_F(Evaluate, ContextsThatDoNotFitAreCutAndCounted) {
  write_tiny_model(temp_ / "short", TinyModel{.context = 64});
  EvalRequest r = request("cut");
  r.models = {{"short", temp_ / "short"}};
  r.tasks = parse_task_list("boolq");
  const EvalOutcome outcome = evaluate(r, pool_);
  EXPECT_EQ(outcome.models[0].results[0].cut_requests, 10);  // 5 items of 2 choices
}

// Examples make contexts longer than the model reads: the first ones are cut away, and counted.
TEST_F(Evaluate, ExamplesThatDoNotFitAreCutAndCounted) {
  write_tiny_model(temp_ / "short", TinyModel{.context = 96});
  std::string rows;
  for (int i = 0; i < 4; ++i) {
    rows += R"({"goal": "How to )" + std::to_string(i) +
            R"(", "sol1": "one way", "sol2": "another", "label": 0})" + "\n";
  }
  write_text(temp_ / "piqa.jsonl", rows);
  write_text(temp_ / "piqa.train.jsonl", rows);
  for (const Convention convention : {Convention::kLmEval, Convention::kMlxLm}) {
    EvalRequest r = request(convention == Convention::kLmEval ? "cut_lm" : "cut_mlx");
    r.models = {{"short", temp_ / "short"}};
    r.tasks = parse_task_list("piqa");
    r.data_directory = temp_ / "";
    r.convention = convention;
    r.rows.limit = 2;
    r.write_prompts = true;
    EXPECT_EQ(evaluate(r, pool_).models[0].results[0].cut_requests, 0);
    r.how = OpenRun::kStartOver;
    r.shots = 3;
    const EvalOutcome outcome = evaluate(r, pool_);
    EXPECT_EQ(outcome.models[0].results[0].cut_requests, 4);
    EXPECT_EQ(outcome.models[0].results[0].shots, 3);
    const std::string prompts = answers(r.runs.filename().string() + "/short/prompts-piqa.jsonl");
    const Json choice = parse_json(prompts.substr(0, prompts.find('\n')), "p")["choices"][0];
    EXPECT_GT(choice["cut_tokens"], 0);
    // One more than the model reads: the last token is scored only.
    if (convention == Convention::kLmEval) {
      EXPECT_EQ(choice["ids"].size(), 97u);
    }
    EXPECT_LE(choice["ids"].size(), 97u);
  }
}

TEST_F(Evaluate, SeedsOfExamplesFollowTheConvention) {
  EvalRequest r = request("x");
  EXPECT_EQ(few_shot_of(r).shots, 0);
  r.shots = 2;
  EXPECT_EQ(few_shot_of(r).seed, 1234u);  // plain
  r.chat.reset();
  EXPECT_EQ(few_shot_of(r).seed, 123u);  // both have a template
  r.convention = Convention::kLmEval;
  EXPECT_EQ(few_shot_of(r).seed, 1234u);
  r.few_shot_seed = 7;
  EXPECT_EQ(few_shot_of(r).seed, 7u);
  write_tiny_model(temp_ / "bare", TinyModel{.chat_template = false});
  r.models.push_back({"bare", temp_ / "bare"});
  r.convention.reset();
  EXPECT_EQ(few_shot_of(r).seed, 7u);
  r.few_shot_seed.reset();
  EXPECT_THROW(few_shot_of(r), UsageError);  // one is asked in chat mode, one plainly
}

TEST_F(Evaluate, EstimateWritesNothing) {
  const EvalEstimate e = estimate(request("dry"), pool_);
  ASSERT_EQ(e.models.size(), 2u);
  EXPECT_EQ(e.models[0].tasks[0].items, 5);
  EXPECT_LT(e.models[0].tasks[0].tokens.forward, e.models[0].tasks[0].tokens.unshared);
  const TimeRange& time = e.models[0].time;
  EXPECT_LT(0, time.low);
  EXPECT_LT(time.low, time.seconds);
  EXPECT_LT(time.seconds, time.high);
  EXPECT_FALSE(std::filesystem::exists(temp_ / "dry"));
}

TEST_F(Evaluate, EstimateCountsWhatIsLeft) {
  EvalRequest few = request("runs");
  few.rows.limit = 2;
  evaluate(few, pool_);
  const std::string before = answers("runs/a/answers-arc_easy.jsonl");
  EvalEstimate e = estimate(request("runs"), pool_);
  EXPECT_EQ(e.models[0].tasks[0].items, 3);
  EXPECT_EQ(e.models[0].tasks[0].answered, 2);
  EXPECT_EQ(answers("runs/a/answers-arc_easy.jsonl"), before);
  evaluate(request("runs"), pool_);
  e = estimate(request("runs"), pool_);
  EXPECT_EQ(e.models[0].tasks[0].items, 0);
  EXPECT_EQ(e.models[0].time.seconds, 0);
  EvalRequest other = request("runs");
  other.chat = true;
  e = estimate(other, pool_);
  EXPECT_NE(e.models[0].conflict.find("mode"), std::string::npos) << e.models[0].conflict;
  EXPECT_EQ(e.models[0].tasks[0].items, 5);
  other.how = OpenRun::kStartOver;
  EXPECT_EQ(estimate(other, pool_).models[0].conflict, "");
}

TEST(Estimate, TheRangeCoversBothSamples) {
  const std::int64_t tokens[2] = {100, 300};
  const double seconds[2] = {2, 3};  // 50 and 100 tokens a second
  const TimeRange time = extrapolate(4000, tokens, seconds);
  EXPECT_DOUBLE_EQ(time.seconds, 50);
  EXPECT_LE(time.low, 40);
  EXPECT_GE(time.high, 80);
  const double alike[2] = {1, 3};
  EXPECT_DOUBLE_EQ(extrapolate(4000, tokens, alike).high, 40 * (1 + kLeastError));
  const std::int64_t one[2] = {100, 0}, none[2] = {0, 0};
  const double once[2] = {2, 0};
  EXPECT_DOUBLE_EQ(extrapolate(200, one, once).seconds, 4);
  EXPECT_EQ(extrapolate(200, none, once).seconds, 0);
}

}  // namespace
}  // namespace qx
