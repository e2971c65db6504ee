// How work is cut into windows, what ranks say to each other, and what is said of the progress.
// SPDX-License-Identifier: Apache-2.0
#include "eval/work_list.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "eval/eval_progress.h"
#include "eval/rank_message.h"

namespace qx {
namespace {

std::vector<WorkList::Item> items(std::size_t count, std::int64_t cost) {
  std::vector<WorkList::Item> list;
  for (std::size_t i = 0; i < count; ++i) list.push_back({i, cost});
  return list;
}

TEST(WorkList, OneWorkerGetsWholeWindows) {
  WorkList list;
  list.add(0, 0, items(kWindowItems + 10, 100));
  list.add(0, 1, {});
  list.add(1, 1, items(3, 100));
  WorkWindow w = *list.next(1);
  EXPECT_EQ(w.items.size(), kWindowItems);
  w = *list.next(1);
  EXPECT_EQ(w.items, (std::vector<std::size_t>{256, 257, 258, 259, 260, 261, 262, 263, 264, 265}));
  w = *list.next(1);
  EXPECT_EQ(w.model, 1u);
  EXPECT_EQ(w.task, 1u);
  EXPECT_EQ(w.items, (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_FALSE(list.next(1).has_value());
  EXPECT_EQ(list.cost_left(), 0);
}

TEST(WorkList, WindowsShrinkTowardsTheEndAndHoldEveryItemOnce) {
  WorkList list;
  std::vector<WorkList::Item> uneven;
  for (std::size_t i = 0; i < 900; ++i) uneven.push_back({i, i % 7 == 0 ? 1500 : 60});
  list.add(0, 0, uneven);
  const std::int64_t total = list.cost_left();
  constexpr int kWorkers = 8;
  std::size_t next = 0;
  std::int64_t handed_out = 0;
  while (const std::optional<WorkWindow> window = list.next(kWorkers)) {
    std::int64_t cost = 0;
    for (const std::size_t item : window->items) {
      EXPECT_EQ(item, next++);
      cost += uneven[item].cost;
    }
    const std::int64_t fair = (total - handed_out) / (2 * kWorkers);
    EXPECT_LE(cost, std::max(kSmallestWindow, fair) + 1500);  // the item that passes the bound
    if (next < 900) {
      EXPECT_GE(cost, std::min(kSmallestWindow, fair));
    }
    handed_out += cost;
  }
  EXPECT_EQ(next, 900u);
  EXPECT_EQ(handed_out, total);
}

// Simulated: workers of very different speed, each taking the next window when it is done.
TEST(WorkList, NobodyWaitsLongAtTheEnd) {
  const std::vector<double> speeds = {1, 1, 1, 0.5, 2, 1, 1, 1};
  WorkList list;
  for (std::size_t task = 0; task < 7; ++task) list.add(0, task, items(300, 200));
  const double total = static_cast<double>(list.cost_left());
  std::vector<double> free_at(speeds.size(), 0);
  double power = 0, slowest = 0;
  for (const double speed : speeds) power += speed;
  while (true) {
    std::size_t first = 0;
    for (std::size_t w = 1; w < speeds.size(); ++w) {
      if (free_at[w] < free_at[first]) first = w;
    }
    const auto window = list.next(static_cast<int>(speeds.size()));
    if (!window) break;
    free_at[first] += 200.0 * static_cast<double>(window->items.size()) / speeds[first];
  }
  for (const double t : free_at) slowest = std::max(slowest, t);
  EXPECT_LT(slowest, 1.05 * total / power);
}

TEST(EvalProgress, TheTaskSaysItsRateAndItsAccuracy) {
  EXPECT_EQ(accuracy_text(0, 0), "");
  EXPECT_EQ(accuracy_text(50, 100), "acc 50.0 % (40.4 to 59.6)");
  const TaskState state{"q4-hi", "arc_easy", 300, 212, 106, 4000, 1600, 200};
  EXPECT_EQ(
      task_text(state, 5),
      "q4-hi arc_easy 212/300, 40.0 items/s, 800 tokens/s, 0:02 left, acc 50.0 % (43.3 to 56.7)");
  const TaskState fresh{"q4-hi", "arc_easy", 300, 0, 0, 0, 5600, 0};
  EXPECT_EQ(task_text(fresh, 0), "q4-hi arc_easy 0/300");
}

TEST(RankMessage, ReadsBackWhatWasWritten) {
  RankMessage window{.kind = RankMessage::Kind::kWindow, .window = {2, 5, {7, 9}}};
  const RankMessage back = decode_message(encode_message(window), "m");
  EXPECT_EQ(back.kind, RankMessage::Kind::kWindow);
  EXPECT_EQ(back.window.model, 2u);
  EXPECT_EQ(back.window.task, 5u);
  EXPECT_EQ(back.window.items, (std::vector<std::size_t>{7, 9}));

  Answer answer;
  answer.task = "arc_easy";
  answer.index = 3;
  answer.doc_hash = "ab";
  answer.choices = {{-1.0 / 3, 2, 5, 6, true}, {-std::numeric_limits<double>::infinity(), 1, 1, 1}};
  answer.acc = 1;
  const RankMessage told =
      decode_message(encode_message({.kind = RankMessage::Kind::kAnswer, .answer = answer}), "m");
  EXPECT_EQ(answer_line(told.answer), answer_line(answer));

  const RankMessage failed = decode_message(
      encode_message({.kind = RankMessage::Kind::kFailed, .text = "bad \xff bytes"}), "m");
  EXPECT_EQ(failed.text, "bad \xEF\xBF\xBD bytes");
}

TEST(RankMessage, OtherBytesAreErrors) {
  for (const char* bytes : {"", "{}", "[]", R"({"kind":"hi"})", R"({"kind":"window"})",
                            R"({"kind":"window","model":-1,"task":0})",
                            R"({"kind":"window","model":0,"task":0,"items":["a"]})",
                            R"({"kind":"answer","model":0,"task":0,"line":"x"})"}) {
    EXPECT_THROW(decode_message(bytes, "m"), Error) << bytes;
  }
}

TEST(RankMessage, DifferencesOfRanksAreNamed) {
  Json a{{"model", {{"path", "/a"}, {"files", {{"config.json", "12"}}}}},
         {"threads", 2},
         {"tasks", {{"piqa", {{"data", "/x"}, {"data_hash", "h"}}}}}};
  Json b = a;
  b["model"]["path"] = "/b";
  b["threads"] = 4;
  b["tasks"]["piqa"]["data"] = "/y";
  EXPECT_EQ(first_rank_difference(rank_identity(a), rank_identity(b)), "");
  b["model"]["files"]["config.json"] = "34";
  EXPECT_EQ(first_rank_difference(rank_identity(a), rank_identity(b)),
            "model.files.config.json: got \"12\", rank 0 has \"34\"");
  b = a;
  b["tasks"]["boolq"] = Json{{"rows", 1}};
  EXPECT_EQ(first_rank_difference(rank_identity(a), rank_identity(b)),
            "tasks.boolq: got none, rank 0 has {\"rows\":1}");
}

}  // namespace
}  // namespace qx
