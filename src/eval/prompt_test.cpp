// Header and examples before a question, in plain mode and in both forms of a chat. Expected texts follow
// fewshot_context() of lm_eval/api/task.py, worked by hand; tests/parity/test_fewshot.py asks the package.
// SPDX-License-Identifier: Apache-2.0
#include "eval/prompt.h"

#include <gtest/gtest.h>

#include "eval/test_tokenizer.h"

namespace qx {
namespace {

constexpr PairRules kPlain{Convention::kLmEval, false, 1000};
constexpr PairRules kChat{Convention::kMlxLm, true, 1000};

const ChatTemplate& chat_template() {
  static const ChatTemplate kTemplate(
      "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
      "{% if add_generation_prompt %}<assistant>{% endif %}",
      "<s>", "</s>", "test template");
  return kTemplate;
}

std::shared_ptr<const TaskItem> example(TaskItem item) {
  return std::make_shared<const TaskItem>(std::move(item));
}

DataItem question() {
  DataItem item;
  item.place = "f:1";
  item.item = {{"q"}, {"a", "b"}, 0, ""};
  item.examples = {example({{"e1"}, {"x", "y"}, 1, "not shown"}),
                   example({{"e2"}, {"", "z"}, 0, ""})};
  return item;
}

std::string context(const Task& task, const DataItem& item, const PairRules& rules,
                    bool multiturn) {
  const Tokenizer tokenizer = make_test_tokenizer();
  return Prompter(tokenizer, &chat_template(), {rules, {}, multiturn})
      .prompts(task, item)[0]
      .context;
}

TEST(PromptWithExamples, PlainAndBothForms) {
  const Task& task = *find_task("arc_easy");
  DataItem item = question();
  EXPECT_EQ(context(task, item, kPlain, false), "e1 y\n\ne2 \n\nq");
  EXPECT_EQ(context(task, item, kPlain, true), "e1 y\n\ne2 \n\nq");
  EXPECT_EQ(context(task, item, kChat, false), "<user>e1 y\n\ne2 \n\nq<assistant>");
  EXPECT_EQ(context(task, item, kChat, true),
            "<user>e1<assistant>y<user>e2<assistant><user>q<assistant>");
  item.item.header = "H\n\n";
  EXPECT_EQ(context(task, item, kPlain, false), "H\n\ne1 y\n\ne2 \n\nq");
  EXPECT_EQ(context(task, item, kChat, false), "<system>H\n\n<user>e1 y\n\ne2 \n\nq<assistant>");
  EXPECT_EQ(context(task, item, kChat, true),
            "<system>H\n\n<user>e1<assistant>y<user>e2<assistant><user>q<assistant>");
}

TEST(PromptWithExamples, DelimitersOfTheTask) {
  Task task = *find_task("arc_easy");
  task.delimiter = "~";
  task.example_delimiter = "|";
  EXPECT_EQ(context(task, question(), kPlain, false), "e1~y|e2~|q");
  const Tokenizer tokenizer = make_test_tokenizer();
  EXPECT_EQ(Prompter(tokenizer, nullptr, {kPlain, {}}).prompts(task, question())[1].continuation,
            "~b");
}

// The right option fills the blank; a sentence that ends with its blank has no answer to show.
TEST(PromptWithExamples, ContextsOfTheirOwn) {
  const Task& task = *find_task("winogrande");
  DataItem item;
  item.place = "f:1";
  item.item = {{"c1", "c2"}, {"r", "r"}, 0, ""};
  item.examples = {example({{"d1", "d2"}, {"s", "s"}, 1, ""}),
                   example({{"g1", "g2"}, {"", ""}, 0, ""})};
  EXPECT_EQ(context(task, item, kPlain, false), "d2 s\n\ng1c1");
  EXPECT_EQ(context(task, item, kChat, true), "<user>d2<assistant>s<user>g1<user>c1<assistant>");
}

TEST(PromptWithExamples, ClozeContinuationsHoldTheirSpace) {
  const Task task = parse_task(
      R"({"name": "t", "context": "{a}", "continuation": " {b}", "metrics": ["acc"]})", "d");
  DataItem item;
  item.place = "f:1";
  item.item = {{"c"}, {" w"}, 0, ""};
  item.examples = {example({{"d"}, {" v"}, 0, ""})};
  const Tokenizer tokenizer = make_test_tokenizer();
  for (const PairRules& rules : {kPlain, kChat}) {
    const auto prompts = Prompter(tokenizer, &chat_template(), {rules, {}}).prompts(task, item);
    ASSERT_EQ(prompts.size(), 1u);
    EXPECT_EQ(prompts[0].continuation, " w");
  }
  EXPECT_EQ(context(task, item, kPlain, false), "d  v\n\nc");
}

}  // namespace
}  // namespace qx
