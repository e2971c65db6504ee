// Tasks of one's own and few-shot examples through the command line, on a tiny random model.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "run_qx.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Rows in the schemas of the four data sets, three of each.
std::map<std::string, std::string> example_rows() {
  std::map<std::string, std::string> rows;
  for (const char* name : {"Ann", "Bob", "Eve"}) {
    const std::string n = name;
    rows["social_iqa"] +=
        R"({"context": ")" + n +
        R"( fell.", "question": "What next?", "answerA": "stand", "answerB": "sing", )"
        R"("answerC": "fly", "label": "1"})"
        "\n";
    rows["sciq"] +=
        R"({"question": "Who is )" + n +
        R"(?", "distractor1": "a", "distractor2": "b", "distractor3": "c", "correct_answer": )"
        R"("d", "support": " So."})"
        "\n";
    rows["lambada_openai"] += R"({"text": "I saw )" + n + "\"}\n";
    rows["mmlu"] +=
        R"({"question": "Is )" + n +
        R"( here?", "subject": "high_school", "choices": ["1", "2", "3", "4"], "answer": 2})"
        "\n";
  }
  return rows;
}

const fs::path& examples() {
  static const fs::path kFolder = fs::path(QX_SOURCE_DIR) / "tasks/examples";
  return kFolder;
}

class OwnTasks : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fresh_directory("own_tasks");
    write_tiny_model(root_ / "a", {});
    write_tiny_model(root_ / "b", {.seed = 2});
    for (const auto& [name, text] : example_rows()) {
      fs::copy_file(examples() / (name + ".json"), root_ / (name + ".json"));
      write(root_ / (name + ".jsonl"), text);
      write(root_ / (name + ".train.jsonl"), text + text);
    }
  }
  std::string task(const std::string& name) const { return (root_ / (name + ".json")).string(); }
  std::vector<std::string> eval(const std::string& tasks,
                                const std::vector<std::string>& more = {}) {
    std::vector<std::string> command{"eval", "-m", root_ / "a", "-m",      root_ / "b", "--tasks",
                                     tasks,  "-o", root_ / "r", "--quiet", "--threads", "1"};
    command.insert(command.end(), more.begin(), more.end());
    return command;
  }
  fs::path root_;
};

TEST_F(OwnTasks, RunAndAreComparedLikeTheShippedOnes) {
  const std::string all =
      task("social_iqa") + "," + task("sciq") + "," + task("lambada_openai") + "," + task("mmlu");
  const Json out = run_json(eval(all, {"--plain", "--shots", "2"}));
  const Json& results = out["models"]["a"];
  EXPECT_EQ(results["results"]["sciq"]["sample_len"], 3);
  for (const char* metric : {"acc,none", "acc_norm,none", "acc_bytes,none", "acc_token,none"}) {
    EXPECT_TRUE(results["results"]["sciq"].contains(metric)) << metric;
    EXPECT_EQ(results["results"]["lambada_openai"].contains(metric),
              std::string(metric) == "acc,none");
  }
  EXPECT_EQ(results["n-shot"]["mmlu"], 2);
  EXPECT_EQ(results["versions"]["sciq"], 1.0);
  const Json& facts = results["run"]["tasks"]["sciq"];
  EXPECT_EQ(facts["metrics"].dump(), R"(["acc","acc_norm"])");
  EXPECT_EQ(facts["description"], task("sciq"));
  EXPECT_EQ(facts["origin"], "beside the description");
  EXPECT_EQ(facts["examples_rows"], 6);

  // Neither descriptions nor data are needed from here on.
  for (const auto& [name, text] : example_rows()) fs::remove(root_ / (name + ".json"));
  const Json comparison = run_json({"compare", root_ / "r/a", root_ / "r/b"});
  ASSERT_EQ(comparison["tasks"].size(), 4u);
  for (const Json& t : comparison["tasks"]) {
    EXPECT_EQ(t["metric"], t["task"] == "sciq" ? "acc_norm" : "acc");
  }
}

TEST_F(OwnTasks, AnEditedDescriptionIsAnotherRun) {
  ASSERT_EQ(run_qx(eval(task("sciq"))).exit_code, 0);
  ASSERT_EQ(run_qx(eval(task("sciq"))).exit_code, 0);
  write(task("sciq"), read(task("sciq")) + "\n");
  const Outcome o = run_qx(eval(task("sciq")));
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("description of sciq"), std::string::npos) << o.err;
}

TEST_F(OwnTasks, OtherExamplesAreAnotherRun) {
  const std::vector<std::string> command = eval(task("sciq"), {"--shots", "1"});
  ASSERT_EQ(run_qx(command).exit_code, 0);
  for (const auto& [options, difference] :
       std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--shots", "2"}, "few_shot:"},
           {{}, "few_shot:"},
           {{"--shots", "1", "--fewshot-seed", "9"}, "few_shot_seed:"},
           {{"--shots", "1", "--fewshot-as-multiturn"}, "few_shot_multiturn:"}}) {
    const Outcome o = run_qx(eval(task("sciq"), options));
    EXPECT_EQ(o.exit_code, 1);
    EXPECT_NE(o.err.find(difference), std::string::npos) << difference << "\n" << o.err;
  }
  EXPECT_EQ(run_qx(command).exit_code, 0);
  write(root_ / "sciq.train.jsonl", read(root_ / "sciq.jsonl"));
  const Outcome o = run_qx(command);
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("examples of sciq"), std::string::npos) << o.err;
}

TEST_F(OwnTasks, WrongCommandLinesAndDescriptions) {
  for (const std::vector<std::string>& options :
       {std::vector<std::string>{"--shots", "-1"},
        {"--fewshot-seed", "1"},
        {"--fewshot-single-turn"},
        {"--shots", "1", "--plain", "--fewshot-as-multiturn"},
        {"--shots", "1", "--fewshot-as-multiturn", "--fewshot-single-turn"}}) {
    EXPECT_EQ(run_qx(eval(task("sciq"), options)).exit_code, 2) << options.back();
  }
  EXPECT_EQ(run_qx(eval(task("sciq") + ",./sciq")).exit_code, 2);
  EXPECT_EQ(run_qx(eval(task("none"))).exit_code, 1);
  EXPECT_EQ(run_qx(eval("arc_easy", {"--shots", "1"})).exit_code,
            1);  // the shipped set has no examples
  EXPECT_EQ(run_qx(eval(task("sciq"), {"--shots", "7"})).exit_code, 1);  // of 6 rows
  std::string text = read(task("sciq"));
  text.replace(text.find("\"gold\": 3"), 9, "\"gold\": 4");
  write(task("sciq"), text);
  const Outcome o = run_qx(eval(task("sciq")));
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_NE(o.err.find("sciq.json:8] field 'gold': got 4, expected 0 to 3"), std::string::npos)
      << o.err;
  EXPECT_FALSE(fs::exists(root_ / "r"));
}

// The blocks of JSON in docs/tasks.md are the files beside the shipped descriptions.
TEST(TaskDocs, ExamplesAreTheFiles) {
  const std::string docs = read(fs::path(QX_SOURCE_DIR) / "docs/tasks.md");
  std::size_t blocks = 0;
  for (std::size_t at = docs.find("```json\n"); at != std::string::npos;
       at = docs.find("```json\n", at + 1)) {
    ++blocks;
    const std::size_t begin = at + 8;
    const std::string block = docs.substr(begin, docs.find("```", begin) - begin);
    const Json json = Json::parse(block);
    EXPECT_EQ(block, read(examples() / (json["name"].get<std::string>() + ".json")));
  }
  EXPECT_EQ(blocks, example_rows().size());
}

}  // namespace
}  // namespace qx::e2e
