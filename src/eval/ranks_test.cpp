// Evaluations by several ranks, which are threads of this process: the same bytes as by one, and failures
// that end everybody.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "base/error.h"
#include "cluster/in_process.h"
#include "eval/evaluate.h"
#include "eval/leader.h"
#include "eval/worker.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace qx {
namespace {

class Ranks : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("QX_CACHE", (temp_ / "cache").c_str(), 1);
    ::unsetenv("QX_DATA");
    write_tiny_model(temp_ / "a", TinyModel{.layers = 1, .quantized = AffineSpec{4, 32}});
    write_tiny_model(temp_ / "b", TinyModel{.family = "llama", .layers = 1});
  }
  void TearDown() override { ::unsetenv("QX_CACHE"); }

  EvalRequest request(const std::string& runs) const {
    EvalRequest r;
    r.models = {{"a", temp_ / "a"}, {"b", temp_ / "b"}};
    r.tasks = parse_task_list("openbookqa,winogrande");
    r.runs = temp_ / runs;
    r.rows.limit = 9;
    r.chat = false;
    r.quiet = true;
    return r;
  }

  // As `others.size()` further ranks with a command each; the first rank's failure comes out.
  EvalOutcome evaluate_with(const EvalRequest& leader, const std::vector<EvalRequest>& others) {
    const auto ranks = in_process_ranks(static_cast<int>(others.size()) + 1);
    std::vector<std::thread> threads;
    for (std::size_t r = 0; r < others.size(); ++r) {
      threads.emplace_back([&, r] {
        Communicator& own = *ranks[r + 1];
        run_as_rank(own, [&] {
          ThreadPool pool(1 + static_cast<int>(r) % 2);
          serve_evaluation(others[r], pool, own);
        });
      });
    }
    struct Join {
      std::vector<std::thread>& threads;
      ~Join() {
        for (std::thread& thread : threads) thread.join();
      }
    } join{threads};
    ThreadPool pool(1);
    RankTeam team(*ranks[0]);
    return evaluate(leader, pool, &team);
  }

  std::string failure_with(const EvalRequest& leader, const EvalRequest& other) {
    try {
      evaluate_with(leader, {other});
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

  void expect_equal_runs(const std::string& got, const std::string& wanted) {
    for (const char* file :
         {"a/answers-openbookqa.jsonl", "a/answers-winogrande.jsonl", "b/answers-openbookqa.jsonl",
          "b/answers-winogrande.jsonl", "a/results.json", "b/results.json"}) {
      const std::string whole = read_text(temp_ / (wanted + "/" + file));
      EXPECT_FALSE(whole.empty());
      EXPECT_EQ(read_text(temp_ / (got + "/" + file)), whole) << file;
    }
  }

  TestFolder temp_;
};

TEST_F(Ranks, AnyNumberGivesTheSameBytes) {
  ThreadPool pool(2);
  evaluate(request("one"), pool);
  for (const std::size_t others : {1u, 3u}) {
    const std::string runs = "with" + std::to_string(others);
    const EvalOutcome outcome =
        evaluate_with(request(runs), std::vector<EvalRequest>(others, request(runs)));
    EXPECT_EQ(outcome.models.size(), 2u);
    expect_equal_runs(runs, "one");
  }
}

TEST_F(Ranks, WhatIsAnsweredAlreadyIsNotAskedAgain) {
  ThreadPool pool(1);
  evaluate(request("one"), pool);
  std::filesystem::copy(temp_ / "one", temp_ / "half", std::filesystem::copy_options::recursive);
  const std::string file = "half/b/answers-openbookqa.jsonl";
  const std::string whole = read_text(temp_ / file);
  write_text(temp_ / file, whole.substr(0, whole.size() / 2));
  std::filesystem::remove(temp_ / "half/b/results.json");
  evaluate_with(request("half"), {request("half")});
  expect_equal_runs("half", "one");
  // Nothing is left to do: every rank is still compared, and nothing changes.
  evaluate_with(request("half"), {request("half"), request("half")});
  expect_equal_runs("half", "one");
}

TEST_F(Ranks, AnErrorOfOneRankEndsAllAndNamesIt) {
  EvalRequest broken = request("runs");
  broken.models[1].directory = temp_ / "missing";
  const std::string text = failure_with(request("runs"), broken);
  EXPECT_EQ(text.find("[rank 1 on "), 0u) << text;
  EXPECT_NE(text.find("missing"), std::string::npos) << text;
}

TEST_F(Ranks, ModelsAndDataMustBeEqual) {
  std::filesystem::create_directories(temp_ / "elsewhere");
  std::filesystem::copy(temp_ / "b", temp_ / "elsewhere/b",
                        std::filesystem::copy_options::recursive);
  EvalRequest other = request("runs");
  other.models[1].directory = temp_ / "elsewhere/b";
  EXPECT_EQ(failure_with(request("runs"), other), "");  // only the path differs

  write_tiny_model(temp_ / "changed/b", TinyModel{.family = "llama", .seed = 2, .layers = 1});
  other.models[1].directory = temp_ / "changed/b";
  const std::string text = failure_with(request("other"), other);
  EXPECT_NE(text.find("b.model.files.model.safetensors: got \""), std::string::npos) << text;

  other = request("limits");
  other.rows.limit = 8;
  EXPECT_NE(failure_with(request("limits"), other).find("a.selection.limit: got 8, rank 0 has 9"),
            std::string::npos);
}

TEST_F(Ranks, AFailureOfTheLeaderEndsTheOthers) {
  EvalRequest bad = request("runs");
  bad.how = OpenRun::kContinueOnly;  // there is nothing to continue
  EXPECT_NE(failure_with(bad, request("runs")).find("holds no run"), std::string::npos);
  // A model that breaks while it answers: the leader's own worker or the other rank may meet it first.
  const std::filesystem::path weights = temp_ / "a/model.safetensors";
  std::filesystem::resize_file(weights, std::filesystem::file_size(weights) - 8);
  EXPECT_NE(failure_with(request("broken"), request("broken")), "");
}

}  // namespace
}  // namespace qx
