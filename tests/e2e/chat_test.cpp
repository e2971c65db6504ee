// qx chat, through pipes and on a terminal.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "io/json.h"
#include "pty_qx.h"
#include "run_qx.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

// The tiny model's token of "a" is its byte; with this bias it says nothing else.
const std::vector<std::string> kSaysA = {"--logit-bias", "97=100000"};

class Chat : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    root_ = fresh_directory("chat");
    write_tiny_model(root_ / "m", {.layers = 1, .context = 65536});
    write_tiny_model(root_ / "other", {.seed = 2, .layers = 1, .context = 2048});
    write_tiny_model(root_ / "base", {.layers = 1, .chat_template = false});
  }

  static std::vector<std::string> arguments(const std::vector<std::string>& more,
                                            const std::string& max_tokens = "6") {
    std::vector<std::string> out = {"chat",      "-m",          (root_ / "m").string(),
                                    "--threads", "2",           "--max-tokens",
                                    max_tokens,  "--no-history"};
    out.insert(out.end(), kSaysA.begin(), kSaysA.end());
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  static Outcome chat(const std::string& input, const std::vector<std::string>& more = {}) {
    return run_qx(arguments(more), input);
  }
  static std::string path(const std::string& name) { return (root_ / name).string(); }
  static Json saved(const std::string& name) { return read_json_file(root_ / name).at("messages"); }

  static inline fs::path root_;
};

TEST_F(Chat, LinesOfAPipeAreMessages) {
  const Outcome outcome = chat("Hi\n\nAgain", {"--system-prompt", "Be brief."});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "aaaaaa\naaaaaa\n");
  EXPECT_NE(outcome.err.find("[6 tokens, "), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("(the answer ends here: --max-tokens 6)"), std::string::npos);
  // The second prompt begins with all of the first, and with its answer but for the last token.
  const std::size_t second = outcome.err.rfind("prompt: ");
  ASSERT_NE(second, std::string::npos);
  int fresh = 0, all = 0;
  ASSERT_EQ(std::sscanf(outcome.err.c_str() + second, "prompt: %d of %d tokens new", &fresh, &all),
            2);
  EXPECT_LT(fresh * 2, all) << outcome.err;
  const Outcome quiet = chat("Hi\n", {"--quiet", "--stop", "aaaa", "--stop", "x"});
  EXPECT_EQ(quiet.out, "");
  EXPECT_EQ(quiet.err, "");
  EXPECT_EQ(chat("").exit_code, 0);
}

TEST_F(Chat, Commands) {
  const Outcome outcome = chat("/system Say a.\nOne\\\ntwo\n\"\"\"\n/three\n\n\"\"\"\n/save " +
                               path("one.json") + "\n/temp 0.5\n/temp\n/reset\n//four\n/save " +
                               path("two.json") + "\n/load " + path("one.json") + "\n/model " +
                               path("other") + "\n/model\n/temp\nfive\n/system \"\"\n/save " +
                               path("three.json") + "\n/help\n/quit\nnever\n");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "aaaaaa\naaaaaa\naaaaaa\naaaaaa\n");
  const auto assistant = Json{{"role", "assistant"}, {"content", "aaaaaa"}};
  const auto user = [](const char* text) { return Json{{"role", "user"}, {"content", text}}; };
  const auto system = Json{{"role", "system"}, {"content", "Say a."}};
  EXPECT_EQ(saved("one.json"),
            Json::array({system, user("One\ntwo"), assistant, user("/three\n"), assistant}));
  EXPECT_EQ(saved("two.json"), Json::array({system, user("/four"), assistant}));
  EXPECT_EQ(saved("three.json"), Json::array({user("One\ntwo"), assistant, user("/three\n"),
                                              assistant, user("five"), assistant}));
  EXPECT_EQ(read_json_file(root_ / "three.json").at("model"), path("other"));
  for (const char* said :
       {"temperature 0.5", "saved 2 turns", "loaded 2 turns", "no system prompt", "/load FILE"}) {
    EXPECT_NE(outcome.err.find(said), std::string::npos) << said << "\n" << outcome.err;
  }
  // Set, shown, and kept by the next model.
  std::size_t shown = 0;
  for (std::size_t at = 0; (at = outcome.err.find("temperature 0.5\n", at)) != std::string::npos;) {
    ++shown;
    ++at;
  }
  EXPECT_EQ(shown, 3u) << outcome.err;
  const Outcome resumed = chat("six\n/save " + path("four.json") + "\n",
                               {"--load", path("three.json"), "--system-prompt", "New."});
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(saved("four.json").size(), 9u);
  EXPECT_EQ(saved("four.json")[0].at("content"), "New.");
}

TEST_F(Chat, WhatFailsIsSaidAndTheChatGoesOn) {
  std::ofstream(root_ / "notes.txt") << "mine";
  const Outcome outcome = chat("/nonsense\n/temp hot\n/temp nan\n/temp -1\n/save\n/save " +
                                   path("notes.txt") + "\n/load " + path("none.json") + "\n/load " +
                                   path("notes.txt") + "\n/model " + path("none") + "\n/model " +
                                   path("base") + "\n\xFF\n" + std::string(300, 'x') + "\nHi\n",
                               {"--ctx", "256"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "aaaaaa\n");
  for (const char* said :
       {"[/nonsense] is no command", "[/temp] got 'hot'", "[/temp] got 'nan'", "[/temp] got '-1'",
        "[/save] got no name", "exists and is no conversation", "none.json", "notes.txt",
        "has no chat template", "are not UTF-8", "[message] got ",
        "[stdin] 12 of its messages and commands failed"}) {
    EXPECT_NE(outcome.err.find(said), std::string::npos) << said << "\n" << outcome.err;
  }
  EXPECT_EQ(run_qx({"chat", "-m", path("base")}, "Hi\n").exit_code, 1);
  EXPECT_EQ(chat("Hi\n", {"--ctx", "100000"}).exit_code, 2);
  EXPECT_EQ(chat("Hi\n", {"--load", path("none.json")}).exit_code, 1);
  EXPECT_EQ(chat("Hi\n", {"--stop", ""}).exit_code, 2);
  EXPECT_EQ(chat("Hi\n", {"--logit-bias", "98"}).exit_code, 2);
}

TEST_F(Chat, TheOldestTurnsMakeRoom) {
  std::string input;
  for (int i = 0; i < 12; ++i) input += "Message number " + std::to_string(i) + "\n";
  const Outcome outcome = chat(input, {"--ctx", "200"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(
      outcome.err.find("(the context of 200 tokens is full: the model no longer sees the first "),
      std::string::npos)
      << outcome.err;
  const Outcome full = run_qx(arguments({"--ctx", "64"}, "2048"), "Hi\n");
  EXPECT_NE(full.err.find("(the answer ends here: the context is full)"), std::string::npos)
      << full.err;
}

// --- on a terminal -------------------------------------------------------------------------------

constexpr const char* kUp = "\x1b[A";

TEST_F(Chat, EditingAndHistoryOnATerminal) {
  const std::string history = path("history/lines");
  const auto start = [&](const std::vector<std::string>& more = {}) {
    std::vector<std::string> a = arguments(more);
    std::erase(a, "--no-history");
    a.insert(a.end(), {"--history", history});
    return a;
  };
  {
    PtyQx qx(start());
    qx.wait_for("> ");
    qx.type("H\xC3\xA9x\x7f\x7fi\r");  // a character of two bytes is one to delete
    qx.wait_for("aaaaaa");
    qx.wait_for("tokens/s]");
    qx.wait_for("> ");
    qx.type(std::string(kUp) + "!\r");
    qx.wait_for("tokens/s]");
    qx.wait_for("> ");
    qx.type("\x1b[200~pasted\rtext\r\x1b[201~ and \x1b\rmore\r");  // and Alt-Enter
    qx.wait_for("tokens/s]");
    qx.wait_for("> ");
    qx.type("/save " + path("edited.json") + "\r");
    qx.wait_for("saved 3 turns");
    qx.wait_for("> ");
    qx.type("\x04");
    EXPECT_EQ(qx.finish(), 0) << qx.seen();
  }
  const Json messages = saved("edited.json");
  ASSERT_EQ(messages.size(), 6u);
  EXPECT_EQ(messages[0].at("content"), "Hi");
  EXPECT_EQ(messages[2].at("content"), "Hi!");
  EXPECT_EQ(messages[4].at("content"), "pasted\ntext and \nmore");
  struct stat status {};
  ASSERT_EQ(::stat(history.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
  PtyQx again(start({"--quiet"}));
  again.wait_for("> ");
  again.type(std::string(kUp) + kUp + "\r");  // before /save, the pasted text
  again.wait_for("aaaaaa");
  again.wait_for("> ");
  again.type("/save " + path("again.json") + "\r");
  again.wait_for("> ");
  again.type("/quit\r");
  EXPECT_EQ(again.finish(), 0) << again.seen();
  EXPECT_EQ(saved("again.json")[0].at("content"), "pasted\ntext and \nmore");
}

TEST_F(Chat, CtrlCStopsTheAnswerAndNotTheProgram) {
  PtyQx qx(arguments({"--ctx", "65536"}, "60000"));
  qx.wait_for("> ");
  qx.type("half a line\x03");
  qx.wait_for("(/quit or Ctrl-D ends the program)");
  qx.wait_for("> ");
  qx.type("Hi\r");
  qx.wait_for("aaaa");
  qx.type("\x03");
  qx.wait_for("(stopped)");
  qx.wait_for("> ");
  qx.type("/save " + path("stopped.json") + "\r");
  qx.wait_for("saved 1 turns");
  qx.wait_for("> ");
  for (int i = 0; i < 3; ++i) {
    qx.type("\x03");
    qx.wait_for("> ");
  }
  qx.type("/quit\r");
  EXPECT_EQ(qx.finish(), 0) << qx.seen();
  const std::string answer = saved("stopped.json")[1].at("content");
  EXPECT_EQ(answer.find_first_not_of('a'), std::string::npos);
  EXPECT_LT(answer.size(), 60000u);
  EXPECT_EQ(saved("stopped.json")[0].at("content"), "Hi");
}

TEST_F(Chat, SigtermEndsIt) {
  PtyQx waiting(arguments({}));
  waiting.wait_for("> ");
  ::kill(waiting.process(), SIGTERM);
  EXPECT_EQ(waiting.finish(), 130) << waiting.seen();
  PtyQx answering(arguments({"--ctx", "65536"}, "60000"));
  answering.wait_for("> ");
  answering.type("Hi\r");
  answering.wait_for("aaaa");
  ::kill(answering.process(), SIGTERM);
  EXPECT_EQ(answering.finish(), 130);
}

// Adds thinking markers to the tiny tokenizer, and a template that opens the thinking.
void make_thinker(const fs::path& directory) {
  Json tokenizer = read_json_file(directory / "tokenizer.json");
  int id = 271;
  for (const char* text : {"<think>", "</think>"}) {
    tokenizer["added_tokens"].push_back({{"id", id++},
                                         {"content", text},
                                         {"single_word", false},
                                         {"lstrip", false},
                                         {"rstrip", false},
                                         {"normalized", false},
                                         {"special", false}});
  }
  std::ofstream(directory / "tokenizer.json") << tokenizer.dump();
  std::ofstream(directory / "chat_template.jinja")
      << "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
         "<|im_start|>assistant\n{% if enable_thinking %}<think>\n{% endif %}";
}

TEST_F(Chat, ThinkingIsDimAndApart) {
  write_tiny_model(root_ / "thinker", {.layers = 1});
  make_thinker(root_ / "thinker");
  // "a" is best, then </think>, then "b"; none comes twice.
  const std::vector<std::string> thinker = {"chat",
                                            "-m",
                                            path("thinker"),
                                            "--threads",
                                            "2",
                                            "--max-tokens",
                                            "3",
                                            "--no-history",
                                            "--logit-bias",
                                            "97=3000",
                                            "--logit-bias",
                                            "</think>=2500",
                                            "--logit-bias",
                                            "98=2000",
                                            "--presence-penalty",
                                            "5000",
                                            "--presence-context-size",
                                            "4"};
  const Outcome piped = run_qx(thinker, "Hi\n/save " + path("thought.json") + "\n");
  EXPECT_EQ(piped.out, "<think>\na\n</think>\n\nb\n") << piped.err;
  std::vector<std::string> cut = thinker;
  std::replace(cut.begin(), cut.end(), std::string("3"), std::string("1"));
  EXPECT_EQ(run_qx(cut, "Hi\n").out, "<think>\na\n</think>\n");
  const Json messages = saved("thought.json");
  EXPECT_EQ(messages[1].at("content"), "b");
  EXPECT_EQ(messages[1].at("reasoning_content"), "a");
  PtyQx qx(thinker);
  qx.wait_for("> ");
  qx.type("Hi\r");
  qx.wait_for("\x1b[2ma\r\n\x1b[0m\r\nb\r\n");
  qx.wait_for("> ");
  qx.type("/quit\r");
  EXPECT_EQ(qx.finish(), 0);
  PtyQx plain(thinker, {"NO_COLOR=1"});
  plain.wait_for("> ");
  plain.type("Hi\r");
  plain.wait_for("<think>\r\na\r\n</think>\r\n\r\nb\r\n");
}

TEST_F(Chat, AnAnswerCannotSteerTheTerminal) {
  std::vector<std::string> a = arguments({"--stop", "aaa"});
  for (std::string& text : a) {
    if (text == kSaysA[1]) text = "27=100000";  // escape characters
  }
  PtyQx qx(a);
  qx.wait_for("> ");
  qx.type("Hi\r");
  qx.wait_for("\\x1b\\x1b\\x1b\\x1b\\x1b\\x1b");
  EXPECT_EQ(run_qx(a, "Hi\n").out, std::string(6, '\x1b') + "\n");
}

}  // namespace
}  // namespace qx::e2e
