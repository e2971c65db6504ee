// SPDX-License-Identifier: Apache-2.0
#include "compare/run_results.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// Two items of two choices; the second choice has the higher ll, the first the higher ll per
// character.
constexpr const char* kAnswers =
    R"({"task":"piqa","index":0,"doc_hash":"a","gold":1,"choices":[{"ll":-9.0,"tokens":2,"chars":90,"bytes":90,"greedy":false},{"ll":-3.0,"tokens":2,"chars":10,"bytes":10,"greedy":false}],"acc":1,"acc_norm":0}
{"task":"piqa","index":1,"doc_hash":"b","gold":0,"choices":[{"ll":-9.0,"tokens":2,"chars":90,"bytes":90,"greedy":false},{"ll":-3.0,"tokens":2,"chars":10,"bytes":10,"greedy":false}],"acc":0,"acc_norm":1}
)";

fs::path write_run(const std::string& name, const std::string& run_json,
                   const std::string& answers) {
  const fs::path folder = fs::path(testing::TempDir()) / "qx_run_results" / name;
  fs::remove_all(folder);
  fs::create_directories(folder);
  std::ofstream(folder / "run.json") << run_json;
  std::ofstream(folder / "answers-piqa.jsonl") << answers;
  return folder;
}

constexpr const char* kRun =
    R"({"mode":"plain","convention":"lm-eval","few_shot":0,"precision":"reference","end":"x","model":{"tensor_bytes":100,"bits_per_weight":5.0}})";

TEST(LoadRuns, PicksByTheMetricAndReadsTheSize) {
  const fs::path a = write_run("a", kRun, kAnswers), b = write_run("b", kRun, kAnswers);
  const LoadedRuns norm = load_runs({a, b}, Metric::kDefault);
  ASSERT_EQ(norm.runs.size(), 2u);
  EXPECT_EQ(norm.runs[0].name, "a");
  EXPECT_EQ(norm.runs[0].tensor_bytes, 100);
  EXPECT_EQ(norm.runs[0].tasks.at("piqa").metric, "acc_norm");
  EXPECT_EQ(norm.runs[0].tasks.at("piqa").items[0].chosen, 0);
  EXPECT_FALSE(norm.runs[0].tasks.at("piqa").items[0].right);
  const LoadedRuns acc = load_runs({a, b}, Metric::kAcc);
  EXPECT_EQ(acc.runs[0].tasks.at("piqa").items[0].chosen, 1);
  EXPECT_TRUE(acc.runs[0].tasks.at("piqa").items[0].right);
  EXPECT_TRUE(norm.notes.empty());
}

TEST(LoadRuns, OtherRulesAreRefusedAndOtherPrecisionIsSaid) {
  std::string chat = kRun, precise = kRun;
  chat.replace(chat.find("plain"), 5, "chat");
  precise.replace(precise.find("reference"), 9, "exact");
  const fs::path a = write_run("a", kRun, kAnswers);
  EXPECT_THROW(load_runs({a, write_run("c", chat, kAnswers)}, Metric::kDefault), Error);
  EXPECT_EQ(load_runs({a, write_run("p", precise, kAnswers)}, Metric::kDefault).notes.size(), 1u);
  std::string same = kRun, small = kRun;
  same.insert(1, R"("kv_bits":32,)");
  small.insert(1, R"("kv_bits":8,)");
  EXPECT_TRUE(load_runs({a, write_run("s", same, kAnswers)}, Metric::kDefault).notes.empty());
  EXPECT_EQ(load_runs({a, write_run("k", small, kAnswers)}, Metric::kDefault).notes.size(), 1u);
}

std::string with_facts(const std::string& facts) {
  return std::string(kRun).insert(1, facts + ",");
}

std::string error_of(const std::vector<fs::path>& folders,
                     const std::vector<fs::path>& accuracies = {}) {
  try {
    load_runs(folders, Metric::kDefault, false, accuracies);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

// An import that knows nothing is no bridge between runs that must not be compared.
TEST(LoadRuns, ConditionsAreComparedWithTheFirstRunThatKnowsThem) {
  const std::string own = R"("tasks":{"piqa":{"description":"p","description_hash":"1"}})";
  std::string chat = kRun, other_task = with_facts(own);
  chat.replace(chat.find("plain"), 5, "chat");
  other_task.replace(other_task.find("\"1\""), 3, "\"2\"");
  const fs::path import = write_run("import", R"({"imported_from":{},"end":"x"})", kAnswers);
  const fs::path a = write_run("a", kRun, kAnswers), b = write_run("b", chat, kAnswers);
  EXPECT_EQ(error_of({import, a}), "");
  EXPECT_NE(
      error_of({import, a, b}).find("mode is \"chat\", expected \"plain\" as in " + a.string()),
      std::string::npos);
  EXPECT_NE(error_of({import, write_run("t1", with_facts(own), kAnswers),
                      write_run("t2", other_task, kAnswers)})
                .find("another description"),
            std::string::npos);
  // Of runs without answers as well.
  EXPECT_NE(error_of({import, a}, {b}).find("mode is"), std::string::npos);
  EXPECT_NE(error_of({}, {a, import, b}).find("mode is"), std::string::npos);
  EXPECT_EQ(error_of({import}, {a, import}), "");
}

TEST(LoadRuns, ATaskOfWhichOnlyTheAccuracyIsKnownIsLeftOut) {
  const std::string facts = R"("imported_from":{},"tasks":{"piqa":{"items":2},"boolq":{"items":9)";
  const fs::path both = write_run("both", with_facts(facts + "}}"), kAnswers);
  const fs::path import =
      write_run("import", with_facts(facts + R"(,"per_item":false}})"), kAnswers);
  std::ofstream(both / "answers-boolq.jsonl")
      << R"({"task":"boolq","index":0,"doc_hash":"","gold":0,"choices":[{"ll":1,"tokens":1,"chars":1,"bytes":1,"greedy":true}],"acc":1})"
      << "\n";
  for (const std::vector<fs::path>& folders :
       {std::vector{both, import}, std::vector{import, import}}) {
    const LoadedRuns loaded = load_runs(folders, Metric::kDefault);
    for (const RunResults& run : loaded.runs) EXPECT_EQ(run.tasks.size(), 1u);
    EXPECT_NE(loaded.notes.back().find("boolq is left out: only its accuracy is known of import"),
              std::string::npos);
  }
}

// Also where run.json gives an end, as earlier versions left it.
TEST(LoadRuns, ATaskThatLacksAnswersIsSaid) {
  const fs::path a = write_run("a", with_facts(R"("tasks":{"piqa":{"items":3}})"), kAnswers);
  const std::vector<std::string> notes = load_runs({a}, Metric::kDefault).notes;
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(notes[0], "piqa is not finished (a 2 of 3 so far): what is answered so far counts");
  const std::string open = with_facts(R"("tasks":{"piqa":{"items":3}})");
  const fs::path b =
      write_run("b", std::string(open).replace(open.find("\"x\""), 3, "null"), kAnswers);
  EXPECT_EQ(
      load_runs({a, b}, Metric::kDefault).notes.back(),
      "piqa is not finished (a 2 of 3 so far, b 2 of 3 so far): what is answered so far counts");
}

TEST(LoadRuns, TasksAskedInTwoWaysAreRefused) {
  const auto with = [](const std::string& name, const std::string& facts) {
    return write_run(name, std::string(kRun).insert(1, R"("tasks":{"piqa":{)" + facts + "}},"),
                     kAnswers);
  };
  const auto own = [&](const std::string& name, const std::string& hash) {
    return with(name, R"("description":"./p.json","description_hash":")" + hash + "\"");
  };
  const auto shipped = [&](const std::string& name, const std::string& hash) {
    return with(name, R"("description":"shipped","description_hash":")" + hash + "\"");
  };
  EXPECT_NO_THROW(load_runs({own("a", "1"), own("b", "1")}, Metric::kDefault));
  EXPECT_THROW(load_runs({own("a", "1"), own("b", "2")}, Metric::kDefault), Error);
  EXPECT_NO_THROW(load_runs({shipped("a", "1"), shipped("b", "2")}, Metric::kDefault));
  EXPECT_NO_THROW(load_runs({with("a", ""), shipped("b", "2")}, Metric::kDefault));
  EXPECT_THROW(load_runs({with("a", R"("examples_hash":"1")"), with("b", R"("examples_hash":"2")")},
                         Metric::kDefault),
               Error);
}

TEST(LoadRuns, BrokenFoldersAreErrors) {
  const fs::path a = write_run("a", kRun, kAnswers);
  EXPECT_THROW(load_runs({a, a.parent_path() / "missing"}, Metric::kDefault), Error);
  EXPECT_THROW(load_runs({a, write_run("j", "{", kAnswers)}, Metric::kDefault), Error);
  EXPECT_THROW(load_runs({a, write_run("l", "[1]", kAnswers)}, Metric::kDefault), Error);
  EXPECT_THROW(load_runs({a, write_run("e", kRun, "")}, Metric::kDefault), Error);
  EXPECT_THROW(
      load_runs({a, write_run("g", kRun, "garbage\n" + std::string(kAnswers))}, Metric::kDefault),
      Error);
  EXPECT_THROW(
      load_runs({a, write_run("t", kRun, std::string(kAnswers) + kAnswers)}, Metric::kDefault),
      Error);
}

TEST(LoadRuns, OtherItemsAreRefusedOrIntersectedAndSaid) {
  std::string run = kRun;
  run.insert(1, R"("tasks":{"piqa":{"items":2}},)");
  const std::string both = kAnswers, first = both.substr(0, both.find('\n') + 1);
  const std::string other = both.substr(first.size());
  const fs::path a = write_run("a", run, both), b = write_run("b", run, first);
  try {
    load_runs({a, b}, Metric::kDefault);
    FAIL();
  } catch (const Error& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find("piqa: a 2, b 1 of 2 so far; 1 in common"), std::string::npos) << text;
    EXPECT_NE(text.find("--intersect"), std::string::npos) << text;
  }
  const LoadedRuns common = load_runs({a, b}, Metric::kDefault, true);
  ASSERT_EQ(common.runs[0].tasks.at("piqa").items.size(), 1u);
  EXPECT_EQ(common.runs[0].tasks.at("piqa").items[0].index, 0);
  ASSERT_EQ(common.notes.size(), 1u);
  EXPECT_NE(
      common.notes[0].find("only the 1 items that every run answered are compared (a 2, b 1 of 2"),
      std::string::npos);
  // Nothing in common, and nothing answered yet.
  const LoadedRuns none = load_runs({b, write_run("o", run, other)}, Metric::kDefault, true);
  EXPECT_TRUE(none.runs[0].tasks.empty());
  EXPECT_EQ(none.notes.size(), 1u);
  const fs::path started = write_run("st", run, "");
  std::ofstream(started / "answers-boolq.jsonl")
      << R"({"task":"boolq","index":0,"doc_hash":"","gold":0,"choices":[{"ll":1,"tokens":1,"chars":1,"bytes":1,"greedy":true}],"acc":1})"
      << "\n";
  EXPECT_THROW(load_runs({a, started}, Metric::kDefault), Error);
  // A task that a run was never to answer is left out by compare_runs(), with a note.
  run.replace(run.find("piqa"), 4, "rest");
  fs::copy_file(started / "answers-boolq.jsonl",
                write_run("never", run, "") / "answers-boolq.jsonl");
  EXPECT_NO_THROW(load_runs({a, a.parent_path() / "never"}, Metric::kDefault));
}

// What stands beside the answers: where they are from, passages, and what was measured of the
// model.
TEST(LoadRuns, ReadsFolderModelPassagesAndMeasurements) {
  const std::string model =
      R"({"path":"/models/q4","plan_hash":"p","files":{"model.safetensors":"w"},"tensor_bytes":100})";
  const std::string run = std::string(R"({"mode":"plain","few_shot":0,"model":)") + model + "}";
  std::string answers = kAnswers;
  answers.insert(answers.find(R"("gold")"), R"("cluster":"0123456789abcdef",)");
  const fs::path a = write_run("measured", run, answers), b = write_run("bare", run, kAnswers);
  std::ofstream(a / "bench.json")
      << R"({"isa":"avx2","threads":2,"precision":"exact","pp":{"tokens":512,"median_tps":900.5},
             "tg":{"tokens":128,"median_tps":250.25,"bytes_per_token":75000000},
             "machine":{"cpu":"x"},"peak_rss_bytes":150000000,"model_facts":)"
      << model << "}";
  const LoadedRuns loaded = load_runs({a, b}, Metric::kDefault);
  EXPECT_EQ(loaded.runs[0].folder, a);
  EXPECT_EQ(loaded.runs[0].model_path, "/models/q4");
  EXPECT_EQ(loaded.runs[0].tasks.at("piqa").items[0].cluster, "0123456789abcdef");
  EXPECT_EQ(loaded.runs[0].tasks.at("piqa").items[1].cluster, "");
  ASSERT_TRUE(loaded.runs[0].speed);
  EXPECT_EQ(loaded.runs[0].speed->decode_tps, 250.25);
  EXPECT_FALSE(loaded.runs[1].speed);
  EXPECT_FALSE(loaded.runs[0].distance);
  const Comparison c = compare_runs(loaded.runs, {});
  EXPECT_EQ(c.runs[0].folder, a);
  EXPECT_EQ(c.runs[0].model_path, "/models/q4");
  EXPECT_EQ(c.runs[0].speed->peak_rss_bytes, 150000000);
  // Of another model: not read as if it were this one's.
  std::ofstream(b / "bench.json") << R"({"model_facts":{"plan_hash":"other"}})";
  EXPECT_THROW(load_runs({a, b}, Metric::kDefault), Error);
}

}  // namespace
}  // namespace qx
