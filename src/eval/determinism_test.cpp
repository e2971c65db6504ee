// Answers are the same bytes whatever the threads, the size of passes, the sharing of beginnings, the number
// of ranks, the order of items, the place where a run was cut off, and (but for one case) the instruction set.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "base/random.h"
#include "cluster/in_process.h"
#include "eval/answering.h"
#include "eval/evaluate.h"
#include "eval/leader.h"
#include "eval/worker.h"
#include "kernels/api.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace qx {
namespace {

// One way to run an evaluation.
struct Way {
  int threads = 1, ranks = 1;
  PassRules pass = {};
  double kept = 0;  // share of the answers' bytes that an earlier, killed session left
};

class Determinism : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("QX_CACHE", (temp_ / "cache").c_str(), 1);
    ::unsetenv("QX_DATA");
    TinyModel model{.layers = 2, .context = 2048, .quantized = AffineSpec{4, 32}};
    model.modules["model.layers.0.mlp.down_proj"] = AffineSpec{6, 32};
    model.modules["lm_head"] = AffineSpec{3, 64};
    write_tiny_model(temp_ / "m", model);
  }
  void TearDown() override { ::unsetenv("QX_CACHE"); }

  EvalRequest request(const std::string& runs) const {
    EvalRequest r;
    r.models = {{"m", temp_ / "m"}};
    r.tasks = parse_task_list("arc_easy,winogrande");
    r.runs = temp_ / runs;
    r.rows.limit = 6;
    r.quiet = true;  // in chat mode, as the model has a template: items share its beginning
    return r;
  }

  std::string answers(const std::string& runs) const {
    return read_text(temp_ / (runs + "/m/answers-arc_easy.jsonl")) +
           read_text(temp_ / (runs + "/m/answers-winogrande.jsonl")) +
           read_text(temp_ / (runs + "/m/results.json"));
  }

  void run(const EvalRequest& r, const Way& way) const {
    const auto ranks = in_process_ranks(way.ranks);
    std::vector<std::thread> threads;
    for (std::size_t i = 1; i < ranks.size(); ++i) {
      threads.emplace_back([&, i] {
        run_as_rank(*ranks[i], [&] {
          ThreadPool pool(way.threads);
          serve_evaluation(r, pool, *ranks[i]);
        });
      });
    }
    {
      ThreadPool pool(way.threads);
      RankTeam team(*ranks[0]);
      evaluate(r, pool, way.ranks > 1 ? &team : nullptr);
    }
    for (std::thread& thread : threads) thread.join();
  }

  TestFolder temp_;
};

TEST_F(Determinism, NothingButTheQuestionDecides) {
  run(request("base"), {});
  const std::string expected = answers("base");
  ASSERT_GT(expected.size(), 1000u);
  const std::vector<Way> ways = {
      {.threads = 3},
      {.pass = {.tokens = 7}},
      {.threads = 2, .pass = {.tokens = 61, .min_shared = 1}},
      {.threads = 5, .pass = {.tokens = 4096, .min_shared = 1 << 20}},
      {.ranks = 2},
      {.threads = 2, .ranks = 4, .pass = {.tokens = 33, .min_shared = 3}},
      {.threads = 2, .pass = {.tokens = 100}, .kept = 0.3},
      {.ranks = 3, .pass = {.tokens = 50}, .kept = 0.7},
  };
  for (std::size_t i = 0; i < ways.size(); ++i) {
    const Way& way = ways[i];
    const std::string runs = "way" + std::to_string(i);
    if (way.kept > 0) {
      std::filesystem::copy(temp_ / "base", temp_ / runs, std::filesystem::copy_options::recursive);
      std::filesystem::remove(temp_ / (runs + "/m/results.json"));
      for (const char* task : {"arc_easy", "winogrande"}) {
        const auto file = temp_ / (runs + "/m/answers-" + task + ".jsonl");
        const auto size = static_cast<double>(std::filesystem::file_size(file));
        std::filesystem::resize_file(file, static_cast<std::uintmax_t>(size * way.kept));
      }
    }
    EvalRequest r = request(runs);
    r.pass = way.pass;
    run(r, way);
    EXPECT_EQ(answers(runs), expected) << "way " << i;
  }
}

TEST_F(Determinism, TheOrderOfItemsDoesNot) {
  const EvalRequest r = request("unused");
  const TaskData data = load_data(r).front();
  const Asker asker(r.models.front(), r);
  ThreadPool pool(2);
  const std::unique_ptr<Model> model = load_model(temp_ / "m", pool, Precision::kExact);
  std::vector<EncodedItem> items = asker.encode(*data.task, data.items, pool);
  const auto lines = [&] {
    std::vector<std::string> sorted;
    answer_items(*model, *data.task, items, {},
                 [&](const Answer& answer) { sorted.push_back(answer_line(answer)); });
    std::sort(sorted.begin(), sorted.end());
    return sorted;
  };
  const std::vector<std::string> in_order = lines();
  std::reverse(items.begin(), items.end());
  EXPECT_EQ(lines(), in_order);
  Random random(5);
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random.below(i)]);
  EXPECT_EQ(lines(), in_order);
}

// docs/cluster.md gives the differences of a real model.
TEST_F(Determinism, AcrossInstructionSets) {
  write_tiny_model(temp_ / "bf16", TinyModel{.family = "llama", .layers = 2});
  write_tiny_model(temp_ / "f16", TinyModel{.dtype = DType::kF16, .layers = 2});
  const KernelTables& all = available_kernels();
  for (const char* name : {"m", "bf16", "f16"}) {
    for (const Precision precision : {Precision::kReference, Precision::kExact, Precision::kFast}) {
      const bool may_differ = precision == Precision::kFast && std::string(name) == "bf16";
      std::string expected;
      std::vector<Answer> first;
      for (int i = 0; i < all.count; ++i) {
        const char* table = all.tables[i]->name;
        ASSERT_TRUE(select_kernels(table));
        EvalRequest r = request(std::string("isa-") + table + "-" + name + "-" +
                                std::string(precision_name(precision)));
        r.models = {{"m", temp_ / name}};
        r.tasks = parse_task_list("arc_easy,winogrande");
        r.rows.limit = 2;
        r.precision = precision;
        run(r, {.threads = 2});
        const auto file = r.runs / "m/answers-arc_easy.jsonl";
        const std::string got = read_text(file) + read_text(r.runs / "m/answers-winogrande.jsonl");
        if (i == 0) {
          expected = got;
          first = read_answers(file);
          continue;
        }
        if (!may_differ) {
          EXPECT_EQ(got, expected) << table << " " << name << " " << precision_name(precision);
          continue;
        }
        // Both round x to bfloat16 and differ in the order of float32 sums of 128 or 256 products: far
        // below what rounding x costs (2^-9 of each product).
        const std::vector<Answer> other = read_answers(file);
        for (std::size_t a = 0; a < first.size(); ++a) {
          for (std::size_t c = 0; c < first[a].choices.size(); ++c) {
            EXPECT_NEAR(other[a].choices[c].ll, first[a].choices[c].ll, 0.05) << table;
          }
        }
      }
    }
  }
  ASSERT_TRUE(select_kernels(all.tables[all.count - 1]->name));
}

}  // namespace
}  // namespace qx
