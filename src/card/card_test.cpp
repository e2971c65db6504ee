// Cards written from run folders of made-up answers, and checked against them.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <functional>

#include "audit/audit.h"
#include "base/error.h"
#include "card/card_text.h"
#include "card/check_card.h"
#include "card/facts.h"
#include "card/write_card.h"
#include "runs/answer_log.h"
#include "runs/model_facts.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// Two answers an item, of which picks(i) is taken; the gold one alternates.
void write_task(const fs::path& folder, const std::string& task, int items,
                const std::function<int(int)>& picks,
                const std::function<std::string(int)>& passage = {}) {
  std::string text;
  for (int i = 0; i < items; ++i) {
    Answer answer;
    answer.task = task;
    answer.index = i;
    answer.doc_hash = "h" + std::to_string(i);
    answer.gold = i % 2;
    const int pick = picks(i);
    for (int choice = 0; choice < 2; ++choice) {
      answer.choices.push_back({choice == pick ? -1.0 : -2.0, 1, 4, 4, choice == pick});
    }
    answer.acc = pick == answer.gold;
    if (passage) answer.cluster = passage(i);
    text += answer_line(answer) + "\n";
  }
  write_text(folder / ("answers-" + task + ".jsonl"), text);
}

class Card : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("QX_CACHE", (root_ / "cache").c_str(), 1);
    write_tiny_model(root_ / "base", {.layers = 2});
    write_tiny_model(root_ / "q4", {.layers = 2, .quantized = AffineSpec{4, 32}});
    write_text(root_ / "base" / "README.md",
               "---\nlicense: apache-2.0\nlanguage: [en, no]\nbase_model: someone/older\n---\n");
    add_run("base", root_ / "base", [](int i) { return i % 5 == 0 ? 1 - i % 2 : i % 2; });
    // Worse: 40 more of the 200 are wrong.
    add_run("q4", root_ / "q4", [](int i) { return i % 5 <= 1 ? 1 - i % 2 : i % 2; });
    add_run("copy", root_ / "q4", [](int i) { return i % 5 <= 1 ? 1 - i % 2 : i % 2; });
  }

  void add_run(const std::string& name, const fs::path& model,
               const std::function<int(int)>& picks) {
    const fs::path folder = root_ / "runs" / name;
    fs::create_directories(folder);
    Json run;
    run["name"] = name;
    run["model"] = model_facts_json(measure_model(model));
    run["mode"] = "plain";
    run["convention"] = "lm-eval";
    run["few_shot"] = 0;
    run["selection"] = Json{{"kind", "rows"}, {"offset", 0}, {"limit", 200}};
    for (const char* task : {"arc_easy", "boolq"}) {
      run["tasks"][task] = Json{{"items", 200},
                                {"indices", "0-199"},
                                {"rows", 300},
                                {"data_hash", std::string(64, 'a')},
                                {"description", "shipped"}};
    }
    run["precision"] = "exact";
    run["version"] = "0.1.0";
    run["commit"] = "abc";
    write_text(folder / "run.json", dump_json(run, 2, false, false));
    write_task(folder, "arc_easy", 200, picks);
    // A constant answer.
    write_task(folder, "boolq", 200, [&](int i) { return name == "base" ? picks(i) : 1; });
  }

  CardRequest request() const {
    CardRequest r;
    r.run = root_ / "runs" / "q4";
    r.with = {root_ / "runs" / "base", root_ / "runs" / "copy"};
    r.base = "base";
    return r;
  }
  std::string card() const { return write_card(gather_facts(request())); }
  CardCheck check(const std::string& text) const {
    return check_card(text, "c.md", root_ / "runs");
  }

  TestFolder root_;
};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

std::string all_text(const CardCheck& check) {
  return card_check_text(check, "c.md");
}

TEST_F(Card, SaysWhatIsKnownAndNothingElse) {
  const CardFacts facts = gather_facts(request());
  const Json front = card_front_matter(facts);
  EXPECT_EQ(front["license"], "apache-2.0");
  EXPECT_EQ(front["language"], (Json{"en", "no"}));
  // The base's own base is not this model's, and nothing else says it.
  EXPECT_FALSE(front.contains("base_model"));
  EXPECT_FALSE(front.contains("base_model_relation"));
  EXPECT_EQ(front["library_name"], "mlx");
  EXPECT_EQ(front["pipeline_tag"], "text-generation");
  const Json& results = front["model-index"][0]["results"];
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0]["dataset"]["type"], "allenai/ai2_arc");
  EXPECT_EQ(results[0]["dataset"]["args"]["items"], 200);
  EXPECT_EQ(results[0]["metrics"][0]["value"], 0.6);
  EXPECT_EQ(results[1]["metrics"][0]["value"], 0.5);
  EXPECT_NE(results[1]["metrics"][0]["name"].get<std::string>().find("no information"),
            std::string::npos);

  CardRequest with_base = request();
  with_base.base_models = {"owner/model"};
  with_base.license = "mit";
  const Json other = card_front_matter(gather_facts(with_base));
  EXPECT_EQ(other["base_model"], "owner/model");
  EXPECT_EQ(other["base_model_relation"], "quantized");
  EXPECT_EQ(other["license"], "mit");
}

TEST_F(Card, ConstantAnswersAreNamedAndNoAdvantage) {
  const std::string text = card();
  EXPECT_NE(text.find("Without information here, and left out of averages: boolq."),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("0.500 ± 0.035 (!)"), std::string::npos) << text;
  // A loss is told, and that copy's task says nothing about this model.
  EXPECT_NE(text.find("| boolq | -30.0 points | "), std::string::npos) << text;
  EXPECT_NE(text.find("q4 is worse than base on boolq"), std::string::npos) << text;
  EXPECT_NE(text.find("indistinguishable between the two, or carry no information about one"),
            std::string::npos)
      << text;
  // No sentence of ours is one that the audit would take back.
  for (const Claim& claim : audit_text(text, "c.md").claims) {
    EXPECT_NE(claim.verdict, ClaimVerdict::kContradicted) << claim.text << ": " << claim.evidence;
    EXPECT_NE(claim.verdict, ClaimVerdict::kNotSupported) << claim.text << ": " << claim.evidence;
  }
}

// What a third run answers takes nothing from what is shown of the other two.
TEST_F(Card, AConstantRunDoesNotHideALoss) {
  const auto boolq = [&](const char* run, const std::function<int(int)>& picks) {
    write_task(root_ / "runs" / run, "boolq", 200, picks);
  };
  boolq("q4", [](int i) { return i % 5 <= 2 ? 1 - i % 2 : i % 2; });
  const std::string text = card();
  EXPECT_NE(text.find("| boolq | -40.0 points | "), std::string::npos) << text;
  EXPECT_NE(text.find("q4 is worse than base on boolq (-40.0 points"), std::string::npos) << text;
  // Of a loss against another variant too; 0.400 against 0.500 of a constant answer is none yet.
  EXPECT_EQ(text.find("q4 is worse than copy on boolq"), std::string::npos) << text;
  boolq("q4", [](int i) { return i % 5 <= 3 ? 1 - i % 2 : i % 2; });
  EXPECT_NE(card().find("q4 is worse than copy on boolq (-30.0 points"), std::string::npos)
      << card();
  // Better than a constant answer is nothing gained.
  boolq("base", [](int) { return 1; });
  boolq("q4", [](int i) { return i % 2; });
  EXPECT_NE(card().find("| boolq |  |  | "), std::string::npos) << card();
  EXPECT_EQ(card().find("better"), std::string::npos) << card();
}

// Questions about one passage are right and wrong together.
TEST_F(Card, ErrorsKnowOfPassages) {
  for (const char* run : {"base", "q4", "copy"}) {
    write_task(
        root_ / "runs" / run, "arc_easy", 200,
        [](int i) { return i / 5 % 5 <= 1 ? 1 - i % 2 : i % 2; },
        [](int i) { return fmt::format("{:016x}", i / 5); });
  }
  const std::string text = card();
  EXPECT_EQ(text.find("0.600 ± 0.035"), std::string::npos) << text;
  EXPECT_NE(text.find("0.600 ± 0.078"), std::string::npos) << text;
  EXPECT_TRUE(check(text).problems.empty()) << all_text(check(text));
}

TEST_F(Card, OnlyANameOnTheHubBecomesALink) {
  const auto with_base = [&](const std::string& name) {
    CardRequest r = request();
    r.base_models = {name};
    const std::string text = write_card(gather_facts(r));
    const std::size_t from = text.find("\n# ");  // behind the front matter
    return text.substr(from, text.find("## In short") - from);
  };
  EXPECT_NE(with_base("o-w.n_1/m").find("[o-w.n_1/m](https://huggingface.co/o-w.n_1/m)"),
            std::string::npos);
  for (const char* odd :
       {"o/n) ![x](http://evil", "o/n/m", "/n", "o/", "name", "o/n\nm", "o/n?a"}) {
    const std::string text = with_base(odd);
    EXPECT_EQ(text.find("https://huggingface.co/"), std::string::npos) << text;
    EXPECT_EQ(text.find("[x]("), std::string::npos) << text;
  }
  // A line of a command ends where it is meant to: no fence closes before.
  CardRequest r = request();
  r.base_models = {"o/n\r```\r![x](http://evil)"};
  const std::string text = write_card(gather_facts(r));
  EXPECT_EQ(text.find('\r'), std::string::npos) << text;
}

TEST_F(Card, SpeedAndDistanceStandWhereTheyWereMeasured) {
  EXPECT_EQ(card().find("## Speed"), std::string::npos);
  const fs::path folder = root_ / "runs" / "q4";
  const Json model = read_json_file(folder / "run.json")["model"];
  Json bench;
  bench["pp"] = Json{{"tokens", 64}, {"median_tps", 1007.61}};
  bench["tg"] = Json{{"tokens", 16}, {"median_tps", 227.44}, {"bytes_per_token", 1000}};
  bench["peak_rss_bytes"] = 104054784;
  bench["isa"] = "scalar";
  bench["precision"] = "exact";
  bench["threads"] = 2;
  bench["machine"]["cpu"] = "A CPU | <b>";
  bench["model_facts"] = model;
  write_text(folder / "bench.json", dump_json(bench, 1, false, false));
  Json far;
  for (const char* key : {"kl_mean", "kl_stderr", "kl_median", "kl_p95", "kl_p99", "kl_max",
                          "top1_agreement", "ppl_stderr"}) {
    far[key] = 0.25;
  }
  far["tokens"] = 508;
  far["ppl"] = 33.8117;
  far["ppl_base"] = 29.1;
  far["model"] = model;
  far["base"]["name"] = "base";
  far["text"] = Json{{"sha256", std::string(64, 'b')}, {"file", "/some/where/text.txt"}};
  far["windows"] = Json{{"convention", "llama.cpp"}, {"ctx", 256}, {"stride", 256}, {"windows", 4}};
  write_text(folder / "divergence.json", dump_json(far, 1, false, false));
  const std::string text = card();
  EXPECT_NE(
      text.find("| **q4** | 1007.6 | 227.4 | 64 | 16 | 104.1 MB | exact | scalar | 2 | A CPU"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("| **q4** | 0.2500 ± 0.2500 | 0.2500 | 0.250 | 25.00 % | 33.812 ± 0.250 |"),
            std::string::npos)
      << text;
  EXPECT_NE(
      text.find("qx divergence -m q4 --base base --text text.txt --convention llama.cpp --ctx "
                "256 --stride 256 --chunks 4 -o runs\n"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("qx bench -m q4 -p 64 -n 16 --precision exact --threads 2 -o runs/q4\n"),
            std::string::npos);
  EXPECT_EQ(text.find("/some/where"), std::string::npos);
  EXPECT_TRUE(check(text).problems.empty()) << all_text(check(text));
  EXPECT_FALSE(check(replaced(text, "227.4", "327.4")).problems.empty());
  // Of another model, it is an error and no table.
  bench["model_facts"]["plan_hash"] = "0";
  write_text(folder / "bench.json", dump_json(bench, 1, false, false));
  EXPECT_THROW(card(), Error);
}

TEST_F(Card, WithoutABaseNothingIsClaimed) {
  CardRequest alone = request();
  alone.with.clear();
  alone.base.clear();
  const CardFacts facts = gather_facts(alone);
  const std::string text = write_card(facts);
  EXPECT_NE(text.find("so nothing is said about differences"), std::string::npos);
  for (const char* word : {"better", "worse", "equivalent", "indistinguishable"}) {
    EXPECT_EQ(text.find(word), std::string::npos) << word;
  }
  EXPECT_NE(text.find("0.600 ± 0.035"), std::string::npos);
  EXPECT_TRUE(check(text).problems.empty()) << all_text(check(text));
  // A sibling is no base.
  alone.with = {root_ / "runs" / "copy"};
  EXPECT_EQ(write_card(gather_facts(alone)).find("indistinguishable"), std::string::npos);
  alone.base = "nothing";
  EXPECT_THROW(gather_facts(alone), UsageError);
}

TEST_F(Card, TheBaseIsProvenByTheSourcesHashes) {
  const Json run = read_json_file(root_ / "runs" / "base" / "run.json");
  Json plan;
  plan["recipe"] = "q4";
  plan["rounding"] = "cpu";
  plan["plan_hash"] = read_json_file(root_ / "runs" / "q4" / "run.json")["model"]["plan_hash"];
  plan["source"]["name"] = "base";
  plan["source"]["files"] = Json::array(
      {{{"name", "model.safetensors"}, {"sha256", run["model"]["files"]["model.safetensors"]}}});
  write_text(root_ / "q4" / "qx_plan.json", dump_json(plan, 1, false, false));
  CardRequest r = request();
  r.base.clear();
  const CardFacts facts = gather_facts(r);
  ASSERT_TRUE(facts.base);
  EXPECT_EQ(facts.runs[*facts.base].name, "base");
  EXPECT_TRUE(facts.base_is_proven);
  EXPECT_NE(write_card(facts).find("by the recipe `q4`"), std::string::npos);
  r.base = "copy";  // and a user's word does not change it
  EXPECT_THROW(gather_facts(r), Error);
  // A record that does not fit the weights is not believed.
  plan["plan_hash"] = "0";
  write_text(root_ / "q4" / "qx_plan.json", dump_json(plan, 1, false, false));
  r.base.clear();
  EXPECT_FALSE(gather_facts(r).base);
}

TEST_F(Card, AnUntouchedCardHolds) {
  const std::string text = card();
  const CardCheck same = check(text);
  EXPECT_TRUE(same.problems.empty()) << all_text(same);
  EXPECT_GT(same.checked, 40u);
  // Prose, further sections and tables are the author's.
  const std::string edited = replaced(text, "## Scores",
                                      "A word of thanks.\n\n## Notes\n\n- Made at "
                                      "home.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n## Scores");
  EXPECT_TRUE(check(edited).problems.empty()) << all_text(check(edited));
  std::string crlf;
  for (const char c : text) crlf += c == '\n' ? "\r\n" : std::string(1, c);
  EXPECT_TRUE(check(crlf).problems.empty()) << all_text(check(crlf));
}

TEST_F(Card, EveryChangedFigureIsFound) {
  const std::string text = card();
  const auto expect = [&](const std::string& from, const std::string& to, const std::string& says) {
    const CardCheck result = check(replaced(text, from, to));
    EXPECT_FALSE(result.problems.empty()) << from << "\n" << to;
    EXPECT_NE(all_text(result).find(says), std::string::npos) << all_text(result);
  };
  expect("value: 0.6", "value: 0.7", "front matter, arc_easy acc: says '0.7', the runs give '0.6'");
  expect("0.600 ± 0.035", "0.700 ± 0.035", "says '0.700 ± 0.035', the runs give '0.600 ± 0.035'");
  expect("no information: nearly one answer", "much information: nearly one answer",
         "boolq acc name");
  expect(" (!)", "", "boolq, q4");
  expect("Plan hash: `", "Plan hash: `0", "is not what the runs give");
  expect("| boolq | acc |", "| piqa | acc |", "lacks the row 'boolq'");
  expect("worse", "better", "is not what the runs give");
  expect("- Size, measured: ", "- Size, guessed: ", "is not what the runs give");
  expect("bits per weight | bytes of tensors", "bits per weight | bytes",
         "lacks the column 'bytes of tensors'");
  expect("## Verdicts", "Overall, q4 is superior to base on arc_easy.\n\n## Verdicts",
         "claim 'Overall, q4 is superior to base on arc_easy");
  expect("## Verdicts",
         "| task | base | q4 |\n|---|---|---|\n| arc_easy | 0.80 | 0.75 |\n\n## Verdicts", "0.75");
}

TEST_F(Card, RunsThatMovedOnAreFound) {
  const std::string text = card();
  add_run("q4", root_ / "q4", [](int i) { return i % 2; });
  const CardCheck result = check(text);
  EXPECT_NE(all_text(result).find("the runs give '1.000"), std::string::npos) << all_text(result);
  // Another model in the directory is no model of this run.
  fs::remove_all(root_ / "q4");
  write_tiny_model(root_ / "q4", {.layers = 2, .quantized = AffineSpec{8, 32}});
  EXPECT_THROW(check(text), Error);
  // A directory that is gone is no fault of the card.
  add_run("q4", root_ / "q4", [](int i) { return i % 5 <= 1 ? 1 - i % 2 : i % 2; });
  const std::string fresh = card();
  fs::remove_all(root_ / "q4");
  EXPECT_TRUE(check(fresh).problems.empty()) << all_text(check(fresh));
}

TEST_F(Card, CardsOfOthersAreComparedByTheirColumns) {
  const std::string other =
      "# Mine\n\n| task | base | q4 | q9 |\n|---|---|---|---|\n| ARC Easy | 0.80 | 0.62 | 0.5 |\n";
  const CardCheck result = check(other);
  ASSERT_EQ(result.problems.size(), 1u) << all_text(result);
  EXPECT_EQ(result.checked, 2u);
  EXPECT_NE(result.problems[0].text.find("arc_easy, q4: says 0.62, the run gives 0.6"),
            std::string::npos)
      << result.problems[0].text;
  EXPECT_THROW(check("# Nothing\n"), Error);
}

TEST_F(Card, AHostileOriginReadsNothingElsewhere) {
  for (const std::string origin : {R"({"format":1,"run":"../q4"})", R"({"format":1,"run":".."})",
                                   R"({"format":1,"run":"gone"})", R"({"format":2,"run":"q4"})",
                                   R"({"format":1,"run":"q4","with":["/etc"]})", "[]", "3",
                                   R"({"format":1,"run":"q4","with":"base"})",
                                   R"({"format":1,"run":"q4","with":[],"margin":7})"}) {
    EXPECT_ANY_THROW(check("<!-- qx card " + origin + " -->\n")) << origin;
  }
}

}  // namespace
}  // namespace qx
