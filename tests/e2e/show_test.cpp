// qx show, the flips of qx compare, and results that come from and go to other programs, on a tiny model.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "run_qx.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

void replace_in(const fs::path& path, const std::string& from, const std::string& to) {
  std::string text = read_text(path);
  const std::size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  std::ofstream(path, std::ios::binary) << text;
}

bool has_raw_controls(const std::string& text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f;
  });
}

// Rows with an escape sequence, a bidirectional override, a tab and wide characters.
constexpr const char* kPiqa =
    R"({"goal": "Paint \u001b[31mred\u0007\tnow", "sol1": "one  two ", "sol2": "\u202eabc", "label": 1}
{"goal": "世界", "sol1": "x", "sol2": "y z", "label": 0}
{"goal": "third", "sol1": "long answer here", "sol2": "b", "label": 1}
)";

// The pool of few-shot examples.
constexpr const char* kPool =
    R"({"goal": "example 1", "sol1": "p", "sol2": "q", "label": 0}
{"goal": "example 2", "sol1": "r", "sol2": "s", "label": 1}
{"goal": "example 3", "sol1": "t", "sol2": "u", "label": 1}
{"goal": "example 4", "sol1": "v", "sol2": "w", "label": 0}
)";

class Show : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fresh_directory("show");
    fs::create_directories(root_ / "data");
    std::ofstream(root_ / "data/piqa.jsonl") << kPiqa;
    std::ofstream(root_ / "data/piqa.train.jsonl") << kPool;
    write_tiny_model(root_ / "a", {});
    TinyModel other;
    other.seed = 2;
    write_tiny_model(root_ / "b", other);
    evaluate({"--plain", "--write-prompts"}, "runs");
  }
  void evaluate(const std::vector<std::string>& more, const std::string& runs) const {
    std::vector<std::string> command{"eval", "-m",     root_ / "a",    "-m", root_ / "b", "--tasks",
                                     "piqa", "--data", root_ / "data", "-o", root_ / runs};
    command.insert(command.end(), more.begin(), more.end());
    const Outcome o = run_qx(command);
    ASSERT_EQ(o.exit_code, 0) << o.err;
  }
  Outcome show(const std::vector<std::string>& more, const std::string& run = "runs/a") const {
    std::vector<std::string> command{"show", root_ / run, "piqa"};
    command.insert(command.end(), more.begin(), more.end());
    return run_qx(command, "", {"COLUMNS=80"});
  }
  fs::path root_;
};

TEST_F(Show, RecomputesTheLoggedAnswerToTheBit) {
  for (const char* run : {"runs/a", "runs/b"}) {
    for (int index = 0; index < 3; ++index) {
      const Json item =
          run_json({"show", root_ / run, "piqa", std::to_string(index), "--threads", "2"});
      EXPECT_TRUE(item.at("recomputed").get<bool>());
      EXPECT_TRUE(item.at("equal").get<bool>());
      EXPECT_TRUE(item.at("missing").empty());
      for (const Json& choice : item.at("choices")) {
        double sum = 0;
        for (const Json& token : choice.at("scored_tokens")) {
          sum += token.at("logprob").get<double>();
          EXPECT_LE(token.at("logprob"), token.at("best").at("logprob"));
        }
        EXPECT_EQ(sum, choice.at("logged_ll").get<double>());
        EXPECT_EQ(choice.at("ids").size(), choice.at("id_texts").size());
      }
    }
  }
}

TEST_F(Show, EveryModeIsRecomputedUnderItsOwnConditions) {
  const std::vector<std::vector<std::string>> modes = {{"--chat"},
                                                       {"--chat", "--convention", "lm-eval"},
                                                       {"--plain", "--precision", "reference"},
                                                       {"--plain", "--kv-bits", "8"},
                                                       {"--plain", "--shots", "2"},
                                                       {"--chat", "--shots", "2"}};
  for (std::size_t m = 0; m < modes.size(); ++m) {
    SCOPED_TRACE(m);
    const std::string runs = "runs" + std::to_string(m);
    evaluate(modes[m], runs);
    EXPECT_TRUE(run_json({"show", root_ / runs / "a", "piqa", "1"}).at("equal").get<bool>());
  }
  // The examples are part of the question.
  replace_in(root_ / "data/piqa.train.jsonl", "example", "EXAMPLE");
  const Outcome changed = show({"1"}, "runs4/a");
  EXPECT_EQ(changed.exit_code, 0) << changed.err;
  EXPECT_NE(changed.out.find("few-shot examples depend on"), std::string::npos) << changed.out;
  EXPECT_EQ(show({"1", "--data", root_ / "data"}, "runs4/a").exit_code, 1);
}

TEST_F(Show, ShowsWhatTheKeptPromptsHold) {
  const Json item = run_json({"show", root_ / "runs/a", "piqa", "2"});
  std::ifstream in(root_ / "runs/a/prompts-piqa.jsonl");
  std::string line;
  for (int i = 0; i < 3; ++i) std::getline(in, line);
  const Json kept = parse_json(line, "prompts");
  for (std::size_t c = 0; c < 2; ++c) {
    for (const char* key : {"context", "continuation", "ids", "scored"}) {
      EXPECT_EQ(item.at("choices")[c].at(key), kept.at("choices")[c].at(key)) << key;
    }
  }
}

TEST_F(Show, TextIsSafeVisibleAndFitsTheWidth) {
  const Outcome o = show({"0"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  EXPECT_FALSE(has_raw_controls(o.out)) << o.out;
  EXPECT_EQ(o.out.find("\u202e"), std::string::npos);
  EXPECT_NE(o.out.find("Paint \\x1b[31mred\\x07\\tnow"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("\\u{202e}abc"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("one␣␣two␣"), std::string::npos) << o.out;
  std::istringstream lines(o.out);
  for (std::string line; std::getline(lines, line);) {
    const auto columns =
        std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
    EXPECT_LE(columns, 80) << line;
  }
}

TEST_F(Show, MessagesThatQuoteDataAreSafe) {
  std::ofstream(root_ / "data/arc_easy.jsonl")
      << R"({"question": "q", "choices": {"text": ["a", "b"], "label": ["\u001b[2J", "B"]}, "answerKey": "\u009bC"})";
  const Outcome o = run_qx({"eval", "-m", root_ / "a", "--tasks", "arc_easy", "--data",
                            root_ / "data", "-o", root_ / "other"});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_FALSE(has_raw_controls(o.err)) << o.err;
  EXPECT_NE(o.err.find("\\x1b[2J"), std::string::npos) << o.err;
}

TEST_F(Show, WorksWithoutTheModelAndSaysWhatIsMissing) {
  fs::rename(root_ / "a", root_ / "moved");
  const Json item = run_json({"show", root_ / "runs/a", "piqa", "0"});
  EXPECT_FALSE(item.at("recomputed").get<bool>());
  EXPECT_TRUE(item.at("equal").is_null());
  EXPECT_NE(item.at("missing").dump().find("is gone"), std::string::npos);
  EXPECT_FALSE(item.at("choices")[0].at("ids").empty());  // from the prompts file
  EXPECT_TRUE(run_json({"show", root_ / "runs/a", "piqa", "0", "--model", root_ / "moved"})
                  .at("equal")
                  .get<bool>());
  fs::remove(root_ / "runs/a/prompts-piqa.jsonl");
  fs::remove_all(root_ / "data");
  const Outcome bare = show({"0"});
  EXPECT_EQ(bare.exit_code, 0) << bare.err;
  EXPECT_NE(bare.out.find("Missing"), std::string::npos) << bare.out;
}

TEST_F(Show, ChangedFilesAreRefused) {
  // Another row before the one that is shown: the row itself is as it was.
  replace_in(root_ / "data/piqa.jsonl", "third", "THIRD");
  const Json item = run_json({"show", root_ / "runs/a", "piqa", "1"});
  EXPECT_TRUE(item.at("equal").get<bool>());
  EXPECT_NE(item.at("notes").dump().find("changed since the run"), std::string::npos);
  const Outcome changed = show({"2"});
  EXPECT_EQ(changed.exit_code, 1);
  EXPECT_NE(changed.err.find("the data file changed since the run"), std::string::npos)
      << changed.err;
  replace_in(root_ / "data/piqa.jsonl", "THIRD", "third");

  replace_in(root_ / "a/config.json", "{", "{ ");
  const Outcome model = show({"1"});
  EXPECT_EQ(model.exit_code, 1);
  EXPECT_NE(model.err.find("config.json changed"), std::string::npos) << model.err;
  EXPECT_EQ(show({"1", "--no-model"}).exit_code, 0);
}

TEST_F(Show, AChangedLogIsSeen) {
  const Json before = run_json({"show", root_ / "runs/a", "piqa", "1"});
  const Json ll = before.at("choices")[0].at("ll");
  replace_in(root_ / "runs/a/answers-piqa.jsonl", ll.dump(), "-1.25");
  const Json item = run_json({"show", root_ / "runs/a", "piqa", "1"});
  EXPECT_FALSE(item.at("equal").get<bool>());
  EXPECT_EQ(item.at("choices")[0].at("logged_ll"), -1.25);
  EXPECT_EQ(item.at("choices")[0].at("ll"), ll);
  EXPECT_NE(item.at("notes").dump().find("differs from the logged one"), std::string::npos);
}

TEST_F(Show, ItemsAreChosen) {
  EXPECT_EQ(run_json({"show", root_ / "runs/a", "piqa", "0", "2"}).at("items").size(), 2u);
  const Json wrong = run_json({"show", root_ / "runs/a", "piqa", "--wrong"});
  for (const Json& item : wrong.at("items")) {
    EXPECT_FALSE(item.at("metrics").at("acc_norm").at("right").get<bool>());
  }
  EXPECT_EQ(show({}).exit_code, 2);
  EXPECT_EQ(show({"0", "--wrong"}).exit_code, 2);
  EXPECT_EQ(show({"-1"}).exit_code, 2);
  const Outcome outside = show({"3"});
  EXPECT_EQ(outside.exit_code, 1);
  EXPECT_NE(outside.err.find("index 0 to 2"), std::string::npos) << outside.err;
  EXPECT_EQ(run_qx({"show", root_ / "runs/a", "boolq", "0"}).exit_code, 1);
  EXPECT_EQ(run_qx({"show", root_ / "nowhere", "piqa", "0"}).exit_code, 1);
}

TEST_F(Show, FlipsOfCompareAreThoseThatShowShows) {
  const Json compared =
      run_json({"compare", root_ / "runs/a", root_ / "runs/b", "--flips", "piqa"});
  const Json& flips = compared.at("flips")[0];
  const Json& variant = compared.at("tasks")[0].at("variants").at("b");
  const auto total = variant.at("right_to_wrong").get<int>() +
                     variant.at("wrong_to_right").get<int>() + variant.at("changed").get<int>();
  EXPECT_EQ(flips.at("flips").size(), static_cast<std::size_t>(total));
  const Json shown =
      run_json({"show", root_ / "runs/b", "piqa", "--flipped-from", root_ / "runs/a"});
  EXPECT_EQ(shown.at("of"), total);
  const Outcome text = run_qx({"compare", root_ / "runs/a", root_ / "runs/b", "--flips"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_NE(text.out.find("Flips of b against a"), std::string::npos) << text.out;
}

TEST_F(Show, ExportedRunsComeBackAsTheyWere) {
  const Outcome out = run_qx({"export-run", root_ / "runs/a", "-o", root_ / "exported"});
  ASSERT_EQ(out.exit_code, 0) << out.err;
  const Outcome in = run_qx({"import-run", root_ / "exported", "-o", root_ / "runs/theirs"});
  ASSERT_EQ(in.exit_code, 0) << in.err;
  const Json compared = run_json({"compare", root_ / "runs/a", root_ / "runs/theirs", "--flips"});
  EXPECT_EQ(compared.at("tasks")[0].at("n"), 3);
  EXPECT_TRUE(compared.at("flips")[0].at("flips").empty());
  const Json item = run_json({"show", root_ / "runs/theirs", "piqa", "0"});
  EXPECT_EQ(item.at("choices")[0].at("ll"),
            run_json({"show", root_ / "runs/a", "piqa", "0"}).at("choices")[0].at("ll"));
  EXPECT_FALSE(item.at("recomputed").get<bool>());
  EXPECT_TRUE(item.at("choices")[0].at("tokens").is_null());
  // What an import does not know cannot be compared by.
  EXPECT_EQ(run_qx({"compare", root_ / "runs/a", root_ / "runs/theirs", "--metric", "acc_token"})
                .exit_code,
            1);
  EXPECT_EQ(run_qx({"export-run", root_ / "runs/theirs", "-o", root_ / "x"}).exit_code, 1);
  EXPECT_EQ(run_qx({"export-run", root_ / "runs/a", "-o", root_ / "exported"}).exit_code, 1);
  // The same samples while evaluating.
  evaluate({"--plain", "--export-samples"}, "runs");
  const std::string samples = read_text(root_ / "runs/a/samples_piqa.jsonl");
  EXPECT_FALSE(samples.empty());
  for (const auto& entry : fs::directory_iterator(root_ / "exported")) {
    if (entry.path().extension() != ".jsonl") continue;
    EXPECT_EQ(read_text(entry.path()), samples);
  }
}

TEST_F(Show, AccuraciesAloneAreComparedUnpaired) {
  const std::string results =
      R"({"piqa": {"alias": "piqa", "sample_len": 1838, "acc,none": 0.7, "acc_norm,none": 0.7}})";
  std::ofstream(root_ / "eval_m_0.4.13_piqa") << results;
  std::ofstream(root_ / "results_m.json") << R"({"results": )" << results << "}";
  for (const auto& [file, run] :
       {std::pair("eval_m_0.4.13_piqa", "runs/mlx"), std::pair("results_m.json", "runs/m")}) {
    ASSERT_EQ(run_qx({"import-run", root_ / file, "-o", root_ / run}).exit_code, 0);
  }
  // mlx_lm.evaluate has a convention of its own, as is known without its saying so.
  const Outcome other = run_qx({"compare", root_ / "runs/a", root_ / "runs/mlx"});
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_NE(other.err.find("convention is"), std::string::npos) << other.err;
  const Json both = run_json({"compare", root_ / "runs/a", root_ / "runs/b", root_ / "runs/m"});
  EXPECT_EQ(both.at("tasks").size(), 1u);
  EXPECT_EQ(both.at("unpaired")[0].at("tasks")[0].at("n"), 1838);
  const Json alone = run_json({"compare", root_ / "runs/m", root_ / "runs/a"});
  EXPECT_TRUE(alone.at("tasks").empty());
  EXPECT_EQ(alone.at("unpaired").size(), 1u);
  EXPECT_EQ(run_qx({"compare", root_ / "runs/m", root_ / "runs/a", "--flips"}).exit_code, 1);
  EXPECT_EQ(run_qx({"show", root_ / "runs/m", "piqa", "0"}).exit_code, 1);
}

}  // namespace
}  // namespace qx::e2e
