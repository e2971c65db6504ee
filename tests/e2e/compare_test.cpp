// qx compare on run folders written here, so that every answer is known: formats, widths, colours,
// gates.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <set>
#include <sstream>

#include "e2e/run_qx.h"
#include "support/test_folder.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

const std::vector<std::string> kTasks = {"arc_challenge", "arc_easy", "boolq",     "hellaswag",
                                         "openbookqa",    "piqa",     "winogrande"};

std::string file_size_json(std::int64_t bytes) {
  return R"({"mode":"plain","convention":"lm-eval","few_shot":0,"precision":"exact","end":"x","model":{"tensor_bytes":)" +
         std::to_string(bytes) + R"(,"bits_per_weight":4.5}})";
}

// right(index): whether the item is answered right; two choices, the gold one alternates in threes.
template <typename Right>
void write_task(const fs::path& folder, const std::string& task, int items, Right right) {
  std::ofstream out(folder / ("answers-" + task + ".jsonl"));
  for (int i = 0; i < items; ++i) {
    const int gold = i % 3 == 0 ? 1 : 0;
    const int chosen = right(i) ? gold : 1 - gold;
    const auto choice = [&](int c) {
      return Json{{"ll", c == chosen ? -3.0 - i % 5 : -9.0},
                  {"tokens", 2},
                  {"chars", 10},
                  {"bytes", 10},
                  {"greedy", false}};
    };
    Json line{{"task", task}, {"index", i}, {"doc_hash", "h" + std::to_string(i)}, {"gold", gold}};
    line["choices"] = {choice(0), choice(1)};
    line["acc"] = chosen == gold ? 1 : 0;
    out << line.dump() << "\n";
  }
}

class Compare : public testing::Test {
 protected:
  void SetUp() override { root_ = fresh_directory("compare"); }

  // wrong_every: this share of the items that the base has right is answered wrong.
  std::string write_run(const std::string& name, const std::vector<std::string>& tasks, int items,
                        int wrong_every, std::int64_t bytes = 1000000) {
    const fs::path folder = root_ / name;
    fs::create_directories(folder);
    std::ofstream(folder / "run.json") << file_size_json(bytes);
    for (const std::string& task : tasks) {
      write_task(folder, task, items, [&](int i) {
        if (i * 7 % 10 < 3) return false;
        return wrong_every == 0 || i % wrong_every != 1;
      });
    }
    return folder;
  }

  // What python prints when the file is parsed; empty when it is not well-formed.
  std::string python(const std::string& code, const fs::path& file) {
    const Outcome outcome = run_program("python3", {"-c", code, file});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.out;
  }

  fs::path root_;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// Code points, each of which takes one column in what is printed here.
std::size_t width(const std::string& line) {
  return static_cast<std::size_t>(
      std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// No word of the text is a number that is none.
void expect_no_nan(const std::string& text) {
  std::string word;
  for (const char c : text + " ") {
    if (std::isalpha(static_cast<unsigned char>(c)) != 0) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else {
      EXPECT_TRUE(word != "nan" && word != "inf" && word != "infinity") << text;
      word.clear();
    }
  }
}

TEST_F(Compare, TextFitsEightyColumns) {
  for (const int runs : {2, 3, 5, 8}) {
    std::vector<std::string> command{"compare"};
    for (int r = 0; r < runs; ++r) {
      const std::string name = "run-" + std::to_string(r) + std::string(15, 'n');
      ASSERT_EQ(name.size(), 20u);
      command.push_back(write_run(name, kTasks, 60, r == 0 ? 0 : 2 + r, 1000000000 + r));
    }
    command.push_back("--all-pairs");
    const Outcome outcome = run_qx(command, "", {"COLUMNS=200"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    for (const std::string& line : lines_of(outcome.out)) EXPECT_LE(width(line), 80u) << line;
    EXPECT_EQ(outcome.out.find('\x1b'), std::string::npos);
    for (const std::string& task : kTasks) {
      EXPECT_NE(outcome.out.find(task), std::string::npos) << task;
    }
    expect_no_nan(outcome.out);
  }
}

TEST_F(Compare, FlipsAndUnpairedRunsFitEightyColumnsToo) {
  const std::string a = write_run("a", kTasks, 60, 0), b = write_run("b", kTasks, 60, 4);
  fs::create_directories(root_ / "m");
  std::ofstream(root_ / "m/run.json") << file_size_json(1000);
  Json results{{"results", Json::object()}};
  for (const std::string& task : kTasks) {
    results["results"][task] = {{"acc,none", 0.611}, {"sample_len", 10042}};
  }
  std::ofstream(root_ / "m/results.json") << results.dump();
  const Outcome outcome = run_qx({"compare", a, b, root_ / "m", "--flips"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("Flips of b against a: boolq"), std::string::npos);
  EXPECT_NE(outcome.out.find("m against a, unpaired"), std::string::npos) << outcome.out;
  for (const std::string& line : lines_of(outcome.out)) EXPECT_LE(width(line), 80u) << line;
  const Outcome csv = run_qx({"compare", a, b, root_ / "m", "--format", "csv"});
  EXPECT_EQ(lines_of(csv.out).size(), 1u + 3 * kTasks.size());
}

// A gate, like everything that is said, knows runs by their names: the first of two would be judged
// twice.
TEST_F(Compare, TwoRunsOfOneNameAreRefused) {
  const std::string base = write_run("base", {"piqa"}, 60, 0);
  const std::string own = write_run("x/A", {"piqa"}, 60, 0);
  const auto imported = [&](const std::string& name, double accuracy) {
    fs::create_directories(root_ / name);
    std::ofstream(root_ / name / "run.json") << file_size_json(1000);
    const Json result{{"acc,none", accuracy}, {"sample_len", 60}};
    std::ofstream(root_ / name / "results.json") << Json{{"results", {{"piqa", result}}}}.dump();
    return (root_ / name).string();
  };
  const std::string good = imported("y/A", 0.9), bad = imported("z/A", 0.1);
  for (const auto& [first, second] : {std::pair(own, bad), std::pair(good, bad)}) {
    const Outcome outcome = run_qx({"compare", base, first, second, "--gate", "piqa>-0.5"});
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_NE(outcome.err.find("two runs are called 'A'"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find(first + " and " + second), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("rename"), std::string::npos) << outcome.err;
  }
}

TEST_F(Compare, ColoursOnATerminalOnly) {
  const std::string a = write_run("a", {"piqa"}, 200, 0), b = write_run("b", {"piqa"}, 200, 2);
  const auto on_terminal = [&](const std::vector<std::string>& environment,
                               std::vector<std::string> options = {}) {
    std::vector<std::string> command{
        "-c",
        "import os,pty,sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
        program(),
        "compare",
        a,
        b};
    command.insert(command.end(), options.begin(), options.end());
    const Outcome outcome = run_program("python3", command, "", environment);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_NE(outcome.out.find("worse"), std::string::npos) << outcome.out;
    return outcome.out;
  };
  const auto coloured = [](const std::string& text) {
    return text.find('\x1b') != std::string::npos;
  };
  EXPECT_TRUE(coloured(on_terminal({"TERM=xterm", "NO_COLOR="})));
  EXPECT_FALSE(coloured(on_terminal({"TERM=xterm", "NO_COLOR=1"})));
  EXPECT_FALSE(coloured(on_terminal({"TERM=dumb", "NO_COLOR="})));
  for (const char* format : {"md", "csv", "html", "json"}) {
    EXPECT_FALSE(coloured(on_terminal({"TERM=xterm", "NO_COLOR="}, {"--format", format})));
  }
  const Outcome file = run_qx({"compare", a, b, "-o", root_ / "out.txt"});
  ASSERT_EQ(file.exit_code, 0) << file.err;
  EXPECT_EQ(read_text(root_ / "out.txt"), run_qx({"compare", a, b}).out);
}

TEST_F(Compare, NamesCannotBreakAFormat) {
  const std::string a = write_run("a", {"piqa"}, 40, 0);
  const std::string odd = write_run("q4,\"hi\"|<b>&\x1b[31m", {"piqa"}, 40, 3);
  const Outcome text = run_qx({"compare", a, odd});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_EQ(text.out.find('\x1b'), std::string::npos);
  const Outcome csv = run_qx({"compare", a, odd, "--format", "csv", "-o", root_ / "t.csv"});
  ASSERT_EQ(csv.exit_code, 0) << csv.err;
  EXPECT_EQ(python("import csv,sys\n"
                   "rows=list(csv.DictReader(open(sys.argv[1],newline='')))\n"
                   "print(len(rows),rows[1]['run'],rows[0]['verdict']=='',float(rows[1]['diff'])<0,"
                   "int(rows[1]['n']),None in rows[1])",
                   root_ / "t.csv"),
            "2 q4,\"hi\"|<b>&\\x1b[31m True True 40 False\n");
  const Outcome md = run_qx({"compare", a, odd, "--format", "md"});
  for (const std::string& line : lines_of(md.out)) {
    EXPECT_EQ(line.find("<b>"), std::string::npos) << line;
  }
  // Every row of a table has as many cells as its head.
  std::size_t cells = 0;
  for (const std::string& line : lines_of(md.out)) {
    std::size_t bars = 0;
    for (std::size_t i = 0; i < line.size(); ++i) {
      bars += line[i] == '|' && (i == 0 || line[i - 1] != '\\') ? 1 : 0;
    }
    if (!line.starts_with("|")) {
      cells = 0;
    } else {
      if (cells == 0) cells = bars;
      EXPECT_EQ(bars, cells) << line;
    }
  }
  const Outcome html = run_qx({"compare", a, odd, "--format", "html", "-o", root_ / "t.html"});
  ASSERT_EQ(html.exit_code, 0) << html.err;
  EXPECT_EQ(python("import html.parser,sys\n"
                   "class P(html.parser.HTMLParser):\n"
                   "  open=[];b=0\n"
                   "  def handle_starttag(self,t,a):\n"
                   "    self.b+=t=='b'\n"
                   "    if t!='meta': self.open.append(t)\n"
                   "  def handle_endtag(self,t): assert self.open.pop()==t,t\n"
                   "p=P();p.feed(open(sys.argv[1]).read());print(p.open,p.b)",
                   root_ / "t.html"),
            "[] 0\n");
}

TEST_F(Compare, GatesBreakByTheBound) {
  const std::string a = write_run("a", kTasks, 200, 0), b = write_run("b", kTasks, 200, 40);
  // b loses four of 200 items: the estimate is -0.02 or so, the bound lies further down.
  const Json tasks = run_json({"compare", a, b}).at("tasks");
  const auto difference = [&](std::size_t t) {
    return tasks[t].at("variants").at("b").at("diff").get<double>();
  };
  ASSERT_LT(difference(0), -0.005);
  const double low = tasks[0].at("variants").at("b").at("diff_ci")[0].get<double>();
  ASSERT_LT(low, difference(0));
  const auto gate = [&](double limit) { return "arc_challenge>" + std::to_string(limit); };
  const double between = (low + difference(0)) / 2;

  const Outcome held = run_qx({"compare", a, b, "--gate", gate(low - 0.001)});
  EXPECT_EQ(held.exit_code, 0) << held.err;
  EXPECT_TRUE(held.err.empty()) << held.err;
  // The estimate keeps this limit.
  const Outcome broken = run_qx({"compare", a, b, "--gate", gate(between), "--gate", gate(-0.9)});
  EXPECT_EQ(broken.exit_code, 3);
  EXPECT_NE(broken.out.find("Scores"), std::string::npos);
  EXPECT_NE(broken.err.find("1 of 2 gates does not hold"), std::string::npos) << broken.err;
  EXPECT_NE(broken.err.find("arc_challenge of b: lower 95 % bound"), std::string::npos);

  const Outcome json =
      run_qx({"compare", a, b, "--json", "--gate", gate(between), "--gate", "b:average>-0.9"});
  EXPECT_EQ(json.exit_code, 3);
  const Json gates = parse_json(json.out, "stdout").at("gates");
  ASSERT_EQ(gates.size(), 2u);
  EXPECT_FALSE(gates[0].at("held").get<bool>());
  EXPECT_EQ(gates[0].at("bound"), low);
  EXPECT_TRUE(gates[1].at("held").get<bool>());

  const Outcome files = run_qx({"compare", a, b, "-o", root_ / "c.md", "--format", "md", "--junit",
                                root_ / "j.xml", "--gate", gate(between), "--gate", "piqa>-0.9"});
  EXPECT_EQ(files.exit_code, 3);
  EXPECT_TRUE(files.out.empty());
  EXPECT_NE(read_text(root_ / "c.md").find("## Gates"), std::string::npos);
  EXPECT_EQ(python("import sys,xml.etree.ElementTree as e\n"
                   "r=e.parse(sys.argv[1]).getroot();s=r[0]\n"
                   "print(r.tag,s.tag,s.get('tests'),s.get('failures'),[len(c.findall('failure'))"
                   " for c in s],s[1].get('classname'),s[1].get('name'))",
                   root_ / "j.xml"),
            "testsuites testsuite 2 1 [1, 0] qx.compare.b piqa>-0.9\n");
  // Neither file is replaced without --force.
  EXPECT_EQ(run_qx({"compare", a, b, "--junit", root_ / "j.xml", "--gate", "piqa>-0.9"}).exit_code,
            1);
  EXPECT_EQ(run_qx({"compare", a, b, "--junit", root_ / "j.xml", "--gate", "piqa>-0.9", "--force"})
                .exit_code,
            0);
}

TEST_F(Compare, OddGatesAndOptionsAreUsageErrors) {
  const std::string a = write_run("a", {"piqa"}, 20, 0), b = write_run("b", {"piqa"}, 20, 3);
  const std::vector<std::vector<std::string>> wrong = {
      {"--gate", "piqa"},
      {"--gate", "boolq>-0.01"},
      {"--gate", "c:piqa>-0.01"},
      {"--gate", "piqa>-2"},
      {"--gate", "piqa>x"},
      {"--gate", "a:piqa>-0.01"},
      {"--junit", root_ / "x"},
      {"--margin", "0"},
      {"--margin", "1"},
      {"--margin", "nan"},
      {"--format", "xml"},
      {"--budget", "many"},
      {"--gate", "piqa>0", "-o", root_ / "x", "--junit", root_ / "x"}};
  for (const auto& options : wrong) {
    std::vector<std::string> command{"compare", a, b};
    command.insert(command.end(), options.begin(), options.end());
    const Outcome outcome = run_qx(command);
    EXPECT_EQ(outcome.exit_code, 2) << options[0] << " " << options[1] << "\n" << outcome.err;
    EXPECT_TRUE(outcome.out.empty());
    EXPECT_FALSE(outcome.err.empty());
  }
  EXPECT_FALSE(fs::exists(root_ / "x"));
  // The runs may follow a gate.
  EXPECT_EQ(run_qx({"compare", "--gate", "piqa>-0.99", a, b}).exit_code, 0);
  // What was not measured cannot be judged.
  const Outcome distance = run_qx({"compare", a, b, "--gate", "kl_mean<0.05"});
  EXPECT_EQ(distance.exit_code, 1);
  EXPECT_NE(distance.err.find("qx divergence"), std::string::npos) << distance.err;
}

// Run and measurements of one model, as qx bench -o and qx divergence -o leave them.
void write_measurements(const fs::path& folder, double kl, double kl_stderr) {
  const Json model{{"plan_hash", "p"},
                   {"files", {{"model.safetensors", "f"}}},
                   {"tensor_bytes", 84120192},
                   {"bits_per_weight", 5.003}};
  Json run = parse_json(read_text(folder / "run.json"), "run.json");
  run["model"] = model;
  std::ofstream(folder / "run.json") << run.dump();
  const Json speed{{"model_facts", model},
                   {"isa", "avx2"},
                   {"precision", "exact"},
                   {"threads", 2},
                   {"peak_rss_bytes", 1234567890},
                   {"pp", {{"tokens", 512}, {"median_tps", 1234.5}}},
                   {"tg", {{"tokens", 128}, {"median_tps", 98.7}, {"bytes_per_token", 84000000}}}};
  std::ofstream(folder / "bench.json") << speed.dump();
  const Json distance{{"model_facts", model},
                      {"base", {{"name", "base"}}},
                      {"text", {{"sha256", "t"}}},
                      {"tokens", 4096},
                      {"kl_mean", kl},
                      {"kl_stderr", kl_stderr},
                      {"kl_median", 0.01},
                      {"kl_p95", 0.1},
                      {"kl_p99", 0.2},
                      {"kl_max", 3.0},
                      {"top1_agreement", 0.9},
                      {"ppl", 21.5},
                      {"ppl_stderr", 0.4},
                      {"ppl_base", 20.0}};
  std::ofstream(folder / "divergence.json") << distance.dump();
}

TEST_F(Compare, MeasurementsStandBesideTheScoresAndCanBeGated) {
  const std::string a = write_run("a-base-" + std::string(13, 'n'), {"piqa"}, 60, 0);
  const std::string b = write_run("b-" + std::string(18, 'n'), {"piqa"}, 60, 4);
  write_measurements(b, 0.04, 0.004);
  const Outcome text = run_qx({"compare", a, b});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  for (const char* number :
       {"84.1", "5.003", "1234.5", "98.7", "1234.6", "0.0400 ±0.0040", "90.0 %", "21.500 ±0.400"}) {
    EXPECT_NE(text.out.find(number), std::string::npos) << number << "\n" << text.out;
  }
  for (const std::string& line : lines_of(text.out)) EXPECT_LE(width(line), 80u) << line;
  EXPECT_EQ(run_json({"compare", a, b}).at("runs")[1].at("distance").at("kl_p99"), 0.2);
  // 0.04 + 1.96 * 0.004 = 0.0478
  EXPECT_EQ(run_qx({"compare", a, b, "--gate", "kl_mean<0.048"}).exit_code, 0);
  const Outcome broken = run_qx({"compare", a, b, "--gate", "kl_mean<0.047"});
  EXPECT_EQ(broken.exit_code, 3);
  EXPECT_NE(broken.err.find("upper 95 % bound 0.0478"), std::string::npos) << broken.err;
  EXPECT_EQ(run_qx({"compare", a, b, "--gate", "top1_agreement>0.88"}).exit_code, 0);
  EXPECT_EQ(run_qx({"compare", a, b, "--gate", "top1_agreement>0.895"}).exit_code, 3);
}

TEST_F(Compare, ExtremeRunsGiveSensibleWordsInEveryFormat) {
  const std::string a = write_run("a", {"boolq", "piqa"}, 50, 0);
  const std::string copy = write_run("copy", {"boolq", "piqa"}, 50, 0);
  const std::string one = write_run("one", {"piqa"}, 1, 0),
                    same = write_run("same", {"piqa"}, 1, 0);
  const std::string all = write_run("all", {}, 0, 0), none = write_run("none", {}, 0, 0);
  write_task(all, "piqa", 30, [](int) { return true; });
  write_task(none, "piqa", 30, [](int) { return false; });
  const std::string still = write_run("still", {}, 0, 0);
  write_task(still, "piqa", 30, [](int) { return false; });
  const std::vector<std::vector<std::string>> pairs = {
      {a, copy}, {one, same}, {all, none}, {none, still}, {none, all}};
  for (const auto& pair : pairs) {
    for (const char* format : {"text", "md", "json", "csv", "html"}) {
      const Outcome outcome = run_qx({"compare", pair[0], pair[1], "--format", format, "--flips"});
      ASSERT_EQ(outcome.exit_code, 0) << pair[0] << " " << pair[1] << "\n" << outcome.err;
      expect_no_nan(outcome.out);
    }
  }
  const Json equal = run_json({"compare", a, copy});
  for (const Json& task : equal.at("tasks")) {
    EXPECT_EQ(task.at("variants").at("copy").at("diff"), 0.0);
    EXPECT_NE(task.at("variants").at("copy").at("verdict"), "worse");
    EXPECT_NE(task.at("variants").at("copy").at("verdict"), "better");
  }
}

TEST_F(Compare, MatrixAndGroupsAgreeWithThePairs) {
  const std::string a = write_run("a", kTasks, 200, 0), b = write_run("b", kTasks, 200, 0);
  const std::string c = write_run("c", kTasks, 200, 2);
  const Json json = run_json({"compare", a, b, c});
  const Json& matrix = json.at("matrix");
  EXPECT_EQ(matrix.at("runs"), (Json{"a", "b", "c"}));
  const Json& verdicts = matrix.at("verdicts");
  EXPECT_TRUE(verdicts[0][0].is_null());
  EXPECT_EQ(verdicts[2][0], "worse");
  EXPECT_EQ(verdicts[0][2], "better");
  EXPECT_EQ(verdicts[2][0], json.at("average").at("variants").at("c").at("verdict"));
  EXPECT_EQ(verdicts[1][0], json.at("average").at("variants").at("b").at("verdict"));
  EXPECT_EQ(verdicts[2][1], json.at("pairs")[0].at("average").at("verdict"));
  // No group holds two runs of which one is shown to be better.
  bool together = false;
  std::set<std::string> members;
  for (const Json& group : json.at("groups")) {
    const std::set<std::string> names = group.at("runs");
    EXPECT_FALSE(names.contains("a") && names.contains("c"));
    together = together || (names.contains("a") && names.contains("b"));
    members.insert(names.begin(), names.end());
  }
  EXPECT_TRUE(together);
  EXPECT_EQ(members.size(), 3u);
  for (const char* format : {"text", "md", "html"}) {
    const Outcome outcome = run_qx({"compare", a, b, c, "--format", format});
    EXPECT_NE(outcome.out.find("Every run against every other"), std::string::npos) << format;
    EXPECT_NE(outcome.out.find("cannot be told apart"), std::string::npos) << format;
    EXPECT_NE(outcome.out.find("3 c"), std::string::npos) << format;
  }
}

}  // namespace
}  // namespace qx::e2e
