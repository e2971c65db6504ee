// Writing, reading and mending answer logs.
// SPDX-License-Identifier: Apache-2.0
#include "runs/answer_log.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "support/test_folder.h"

namespace qx {
namespace {

Answer make(std::int64_t index, double ll = -12.345678901234) {
  Answer a;
  a.task = "arc_easy";
  a.index = index;
  a.doc_hash = "ab";
  a.gold = 1;
  a.choices = {{ll, 3, 14, 15, false}, {-1.5, 2, 3, 3, true}};
  a.acc = 1;
  a.acc_norm = 0;
  return a;
}

TEST(AnswerLog, LineIsTheDocumentedOne) {
  EXPECT_EQ(answer_line(make(300)),
            R"({"task":"arc_easy","index":300,"doc_hash":"ab","gold":1,"choices":[)"
            R"({"ll":-12.345678901234,"tokens":3,"chars":14,"bytes":15,"greedy":false},)"
            R"({"ll":-1.5,"tokens":2,"chars":3,"bytes":3,"greedy":true}],"acc":1,"acc_norm":0})");
  Answer boolq = make(0);
  boolq.acc_norm.reset();
  EXPECT_EQ(answer_line(boolq).find("acc_norm"), std::string::npos);
}

TEST(AnswerLog, ItemsThatShareAPassageSaySo) {
  Answer answer = make(0);
  EXPECT_EQ(parse_answer(answer_line(answer), "x").cluster, "");  // as logs of older versions
  answer.cluster = "0123456789abcdef";
  const std::string line = answer_line(answer);
  EXPECT_TRUE(line.ends_with(R"("acc_norm":0,"cluster":"0123456789abcdef"})")) << line;
  EXPECT_EQ(parse_answer(line, "x").cluster, answer.cluster);
  for (const char* wrong : {"\"\"", "\"0123456789ABCDEF\"", "\"0123456789abcde\"", "null", "5"}) {
    std::string bad = line;
    bad.replace(bad.find("\"0123"), 18, wrong);
    EXPECT_THROW(parse_answer(bad, "x"), Error) << wrong;
  }
}

TEST(AnswerLog, LogLikelihoodsReadBackAsTheSameDouble) {
  Random random(5);
  for (int i = 0; i < 2000; ++i) {
    const double ll = -random.uniform() * std::pow(10.0, static_cast<double>(random.below(6)));
    EXPECT_EQ(parse_answer(answer_line(make(0, ll)), "x").choices[0].ll, ll);
  }
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(parse_answer(answer_line(make(0, -infinity)), "x").choices[0].ll, -infinity);
}

TEST(AnswerLog, EndsInItemOrder) {
  const TestFolder folder;
  {
    AnswerLog log(folder / "a.jsonl");
    for (const std::int64_t i : {2, 0, 1}) log.append(make(i));
    EXPECT_EQ(read_answers(folder / "a.jsonl").front().index, 2);  // as scored
    log.finish();
    log.append(make(3));  // goes on after the rewrite
  }
  const std::vector<Answer> answers = read_answers(folder / "a.jsonl");
  ASSERT_EQ(answers.size(), 4u);
  for (std::int64_t i = 0; i < 4; ++i) EXPECT_EQ(answers[static_cast<std::size_t>(i)].index, i);
}

TEST(AnswerLog, ATornLastLineIsDropped) {
  const TestFolder folder;
  const std::string whole = answer_line(make(0)) + "\n";
  const std::string second = answer_line(make(1));
  for (const std::string& torn : {second, second.substr(0, 20), second.substr(0, 20) + "\n",
                                  std::string(30, '\0') + "\n", std::string("\n")}) {
    write_text(folder / "a.jsonl", whole + torn);
    EXPECT_EQ(read_answers(folder / "a.jsonl").size(), 1u);
    AnswerLog log(folder / "a.jsonl");
    EXPECT_EQ(log.answers().size(), 1u);
    log.append(make(5));
    log.finish();
    EXPECT_EQ(read_text(folder / "a.jsonl"), whole + answer_line(make(5)) + "\n");
  }
}

TEST(AnswerLog, DamageElsewhereIsAnErrorWithItsLine) {
  const TestFolder folder;
  const std::string line = answer_line(make(0)) + "\n";
  write_text(folder / "a.jsonl", line + "{\"task\":1}\n" + line);
  try {
    read_answers(folder / "a.jsonl");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("a.jsonl:2]"), std::string::npos) << e.what();
  }
  for (
      const char* bad :
      {"[]", "{}", R"({"task":"t","index":-1,"doc_hash":"","gold":0,"choices":[],"acc":1})",
       R"({"task":"t","index":0,"doc_hash":"","gold":0,"choices":[],"acc":1})",
       R"({"task":"t","index":0,"doc_hash":"","gold":0,"choices":[3],"acc":1})",
       R"({"task":"t","index":0,"doc_hash":"","gold":1,"choices":[{"ll":1,"tokens":1,"chars":1,"bytes":1,"greedy":true}],"acc":1})",
       R"({"task":"t","index":0,"doc_hash":"","gold":0,"choices":[{"ll":1,"tokens":1,"chars":1,"bytes":1,"greedy":true}],"acc":2})"}) {
    EXPECT_THROW(parse_answer(bad, "x"), Error) << bad;
  }
}

TEST(AnswerLog, AnAnswerBecomesDurableWithoutAnotherOne) {
  const TestFolder folder;
  AnswerLog log(folder / "a.jsonl");
  for (std::int64_t i = 0; i < 3; ++i) {
    log.append(make(i));
    const auto wanted = static_cast<std::size_t>(i + 1);
    // Half a second; the bound only ends a test that would never end.
    for (int wait = 0; wait < 6000 && log.durable() < wanted; ++wait) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_EQ(log.durable(), wanted);
  }
}

TEST(AnswerLog, AFileThatVanishesIsAnError) {
  const TestFolder folder;
  AnswerLog log(folder / "a.jsonl");
  log.append(make(0));
  std::filesystem::remove(folder / "a.jsonl");
  // Noticed at the end, or where this test had to wait for the machine, by the flusher before.
  EXPECT_THROW(
      {
        log.append(make(1));
        log.finish();
      },
      Error);
  // The flusher's own failure arrives at the next answer.
  AnswerLog other(folder / "b.jsonl");
  other.append(make(0));
  std::filesystem::remove(folder / "b.jsonl");
  EXPECT_THROW(
      {
        for (std::int64_t i = 1; i < 6000; ++i) {
          other.append(make(i));
          std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
      },
      Error);
  EXPECT_THROW(other.finish(), Error);
}

TEST(AnswerLog, ZerosOfAMachineThatStoppedAreAnsweredAgain) {
  const TestFolder folder;
  const auto line = [](std::int64_t i) { return answer_line(make(i)) + "\n"; };
  write_text(folder / "a.jsonl",
             line(0) + std::string(5000, '\0') + line(1) + line(2) + std::string(40, '\0'));
  EXPECT_EQ(read_answers(folder / "a.jsonl").size(), 2u);
  AnswerLog log(folder / "a.jsonl");
  EXPECT_EQ(read_text(folder / "a.jsonl"), line(0) + line(2));
  log.append(make(1));
  log.finish();
  EXPECT_EQ(read_text(folder / "a.jsonl"), line(0) + line(1) + line(2));
}

}  // namespace
}  // namespace qx
