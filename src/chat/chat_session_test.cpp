// SPDX-License-Identifier: Apache-2.0
#include "chat/chat_session.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "base/interrupt.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr std::int64_t kContext = 256;

class ChatSessionTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_chat_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    write_tiny_model(root_ / "m", {.layers = 2, .context = kContext});
    pool_ = std::make_unique<ThreadPool>(2);
    model_ = load_model(root_ / "m", *pool_, Precision::kReference);
    tokenizer_ = std::make_unique<Tokenizer>(Tokenizer::load(root_ / "m"));
    template_ = std::make_unique<ChatTemplate>(*ChatTemplate::load(root_ / "m"));
  }
  static void TearDownTestSuite() {
    template_.reset();
    tokenizer_.reset();
    model_.reset();
    pool_.reset();
    fs::remove_all(root_);
  }

  static ChatSession session(std::int64_t context = kContext) {
    return ChatSession(*model_, *tokenizer_, *template_, context);
  }
  static ChatSettings settings(std::int64_t max_tokens = 8) {
    ChatSettings out;
    out.max_tokens = max_tokens;
    return out;
  }
  struct Heard {
    ChatReply reply;
    std::string text;
  };
  static Heard ask(ChatSession& chat, Conversation& conversation, const std::string& message,
                   const ChatSettings& s, const std::function<bool()>& cancelled = {}) {
    Heard out;
    out.reply = chat.ask(
        conversation, message, s, [&](const AnswerPiece& piece) { out.text += piece.text; },
        cancelled);
    return out;
  }
  // Tokens of the prompt that sees the turns from `first` on.
  static std::int64_t prompt_size(const Conversation& before, std::size_t first,
                                  const std::string& message) {
    const std::string prompt = template_->render(before.messages(first, message), {});
    return static_cast<std::int64_t>(tokenizer_->encode(prompt, SpecialTokens::kNone).size());
  }
  // The answer that a fresh model gives to the same prompt.
  static std::string fresh_answer(const Conversation& before, std::size_t first,
                                  const std::string& message, const ChatSettings& s) {
    const std::string prompt = template_->render(before.messages(first, message), {});
    GenerateOptions options;
    options.max_tokens = s.max_tokens;
    options.sampling = s.sampling;
    options.sampling.seed += before.turns.size();
    options.context = kContext;
    const auto tokens = tokenizer_->encode(prompt, SpecialTokens::kNone);
    const Generation g = generate(*model_, tokens, options, [](TokenId) {});
    return tokenizer_->decode(g.tokens, DecodeSpecial::kKeep);
  }

  static inline fs::path root_;
  static inline std::unique_ptr<ThreadPool> pool_;
  static inline std::unique_ptr<Model> model_;
  static inline std::unique_ptr<Tokenizer> tokenizer_;
  static inline std::unique_ptr<ChatTemplate> template_;
};

TEST_F(ChatSessionTest, EveryTurnIsWhatAFreshModelSaysAndReusesTheLast) {
  ChatSession chat = session();
  Conversation conversation;
  conversation.system = "Be brief.";
  ChatSettings s = settings();
  s.sampling.temperature = 1.5;
  for (int turn = 0; turn < 3; ++turn) {
    const Conversation before = conversation;
    const Heard heard = ask(chat, conversation, "Question " + std::to_string(turn), s);
    EXPECT_EQ(heard.text, heard.reply.answer);
    EXPECT_EQ(heard.reply.answer, fresh_answer(before, 0, "Question " + std::to_string(turn), s));
    ASSERT_EQ(conversation.turns.size(), static_cast<std::size_t>(turn) + 1);
    EXPECT_EQ(conversation.turns.back().answer, heard.reply.answer);
    if (turn > 0) {
      // All but the answer, which is text again, is there: the system message and the turns before.
      EXPECT_GT(heard.reply.generation.reused_tokens, 20);
    }
  }
  // Another conversation has only the system message in common.
  conversation.turns.clear();
  const Heard other = ask(chat, conversation, "Something else", s);
  EXPECT_EQ(other.reply.answer, fresh_answer({"Be brief.", {}}, 0, "Something else", s));
  EXPECT_GT(other.reply.generation.reused_tokens, 5);
}

TEST_F(ChatSessionTest, TheOldestTurnsMakeRoom) {
  ChatSession chat = session();
  Conversation conversation;
  conversation.system = "Be brief.";
  const ChatSettings s = settings(4);
  constexpr std::int64_t kRoom = kContext - 4;
  std::size_t drops = 0;
  for (int turn = 0; turn < 20; ++turn) {
    const Conversation before = conversation;
    const std::size_t first_before = chat.first_turn();
    const std::string message = "Question number " + std::to_string(turn) + ", at some length";
    const Heard heard = ask(chat, conversation, message, s);
    const std::size_t first = chat.first_turn();
    EXPECT_EQ(heard.reply.dropped, first);
    EXPECT_EQ(heard.reply.dropped_now, first - first_before);
    EXPECT_EQ(heard.reply.generation.prompt_tokens, prompt_size(before, first, message));
    EXPECT_EQ(heard.reply.answer, fresh_answer(before, first, message, s)) << turn;
    EXPECT_EQ(conversation.turns.size(), before.turns.size() + 1);  // nothing is lost
    // Turns go when they must, and then until a quarter of the room is free, but no further.
    EXPECT_EQ(first > first_before, prompt_size(before, first_before, message) > kRoom) << turn;
    if (first > first_before) {
      EXPECT_LE(prompt_size(before, first, message), kRoom - kRoom / 4) << turn;
      EXPECT_GT(prompt_size(before, first - 1, message), kRoom - kRoom / 4) << turn;
      ++drops;
    }
  }
  EXPECT_GT(drops, 1u);
  // The model sees all of a conversation that began anew, and of one that was loaded, what fits.
  chat.restart();
  EXPECT_EQ(chat.first_turn(), 0u);
  EXPECT_GT(ask(chat, conversation, "Again", s).reply.dropped_now, 0u);
  conversation.turns.clear();
  EXPECT_EQ(ask(chat, conversation, "Hi", s).reply.dropped, 0u);
}

TEST_F(ChatSessionTest, LongAnswersLeaveThreeQuartersToThePrompt) {
  ChatSession chat = session();
  Conversation conversation;
  conversation.turns.push_back({std::string(90, 'x'), std::string(90, 'y'), ""});
  const std::int64_t size = prompt_size(conversation, 0, "Hi");
  ASSERT_GT(size, kContext * 3 / 4);
  ASSERT_LT(size, kContext - 8);
  Conversation same = conversation;
  EXPECT_EQ(ask(chat, conversation, "Hi", settings(8)).reply.dropped_now, 0u);
  const Heard heard = ask(chat, same, "Hi", settings(100000));
  EXPECT_EQ(heard.reply.dropped_now, 1u);
  EXPECT_LE(heard.reply.generation.prompt_tokens +
                static_cast<std::int64_t>(heard.reply.generation.tokens.size()),
            kContext);
}

TEST_F(ChatSessionTest, AMessageThatIsTooLongChangesNothing) {
  ChatSession chat = session(96);
  Conversation conversation;
  const ChatSettings s = settings();
  ask(chat, conversation, "Hi", s);
  try {
    ask(chat, conversation, std::string(300, 'x'), s);
    FAIL() << "a message of 300 tokens passed";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("of the context of 96"), std::string::npos) << e.what();
  }
  EXPECT_EQ(conversation.turns.size(), 1u);
  EXPECT_EQ(chat.first_turn(), 0u);
  EXPECT_THROW(ask(chat, conversation, "\xFF", s), Error);
  EXPECT_TRUE(ask(chat, conversation, "Still there?", s).reply.kept);
}

TEST_F(ChatSessionTest, CancelledAnswersAreKeptAsFarAsTheyCame) {
  ChatSession chat = session();
  Conversation conversation;
  const ChatSettings s = settings();
  int asked = 0;
  const Heard part = ask(chat, conversation, "Hi", s, [&] { return ++asked > 6; });
  EXPECT_EQ(part.reply.generation.finish_reason, FinishReason::kCancelled);
  EXPECT_TRUE(part.reply.kept);
  ASSERT_EQ(conversation.turns.size(), 1u);
  EXPECT_TRUE(fresh_answer({}, 0, "Hi", s).starts_with(conversation.turns[0].answer.substr(0, 1)));
  const Heard none = ask(chat, conversation, "And?", s, [] { return true; });
  EXPECT_FALSE(none.reply.kept);
  EXPECT_EQ(conversation.turns.size(), 1u);
}

TEST_F(ChatSessionTest, APassThatWasInterruptedKeepsWhatWasSaid) {
  ChatSession chat = session();
  Conversation conversation;
  const ChatSettings s = settings(12);
  std::string heard;
  int asked = 0;
  const auto stop_in_the_third = [&](const AnswerPiece& piece) {
    heard += piece.text;
    if (heard.size() >= 3) request_interrupt();
  };
  // The first question after the signal comes before the pass, the second from where it was broken off.
  const ChatReply reply = chat.ask(conversation, "Hi", s, stop_in_the_third,
                                   [&] { return interrupt_requested() && ++asked > 1; });
  clear_interrupt();
  EXPECT_EQ(reply.generation.finish_reason, FinishReason::kCancelled);
  EXPECT_TRUE(reply.kept);
  EXPECT_EQ(reply.answer, heard);
  EXPECT_FALSE(reply.generation.tokens.empty());
  EXPECT_GT(reply.generation.prompt_tokens, 0);
  ASSERT_EQ(conversation.turns.size(), 1u);
  // An interrupt that nobody owns up to ends the program, not the answer.
  heard.clear();
  EXPECT_THROW(chat.ask(conversation, "And?", s, stop_in_the_third, [] { return false; }),
               Interrupted);
  clear_interrupt();
  EXPECT_EQ(conversation.turns.size(), 1u);
  EXPECT_EQ(ask(chat, conversation, "And?", s).reply.answer.empty(), false);
}

// A model whose every answer begins with a thought.
TEST_F(ChatSessionTest, AThoughtAloneIsKept) {
  write_tiny_model(root_ / "thinker", {.layers = 1});
  Json document = read_json_file(root_ / "thinker/tokenizer.json");
  int id = document["added_tokens"].back()["id"].get<int>() + 1;
  for (const char* text : {"<think>", "</think>"}) {
    Json token = document["added_tokens"].back();
    token["id"] = id++;
    token["content"] = text;
    document["added_tokens"].push_back(std::move(token));
  }
  std::ofstream(root_ / "thinker/tokenizer.json") << document.dump();
  const auto model = load_model(root_ / "thinker", *pool_, Precision::kReference);
  const Tokenizer tokenizer = Tokenizer::load(root_ / "thinker");
  const ChatTemplate opened("{{ messages[-1].content }}<think>\n", "", "", "t");
  ChatSession chat(*model, tokenizer, opened, kContext);
  Conversation conversation;
  ChatSettings s = settings(6);
  s.sampling.logit_bias = {{'a', 1e5}};
  int asked = 0;
  const Heard heard = ask(chat, conversation, "Hi", s, [&] { return ++asked > 3; });
  EXPECT_EQ(heard.reply.generation.finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(heard.reply.answer, "");
  EXPECT_EQ(heard.reply.reasoning.find_first_not_of('a'), std::string::npos);
  EXPECT_FALSE(heard.reply.reasoning.empty());
  EXPECT_TRUE(heard.reply.kept);
  ASSERT_EQ(conversation.turns.size(), 1u);
  EXPECT_EQ(conversation.turns[0].reasoning, heard.reply.reasoning);
}

TEST_F(ChatSessionTest, TemplateVariablesReachTheTemplate) {
  const ChatTemplate toned("{{ messages[-1].content }} {{ tone }}", "", "", "t");
  ChatSession chat(*model_, *tokenizer_, toned, kContext);
  Conversation conversation;
  ChatSettings s = settings();
  s.template_variables = {{"tone", "quietly"}};
  const auto expected = tokenizer_->encode("Hi quietly", SpecialTokens::kNone).size();
  EXPECT_EQ(ask(chat, conversation, "Hi", s).reply.generation.prompt_tokens,
            static_cast<std::int64_t>(expected));
}

TEST_F(ChatSessionTest, AStopTokenEndsTheAnswer) {
  ChatSession chat = session();
  Conversation conversation;
  ChatSettings s = settings(12);
  const auto tokens = ask(chat, conversation, "Hi", s).reply.generation.tokens;
  ASSERT_EQ(tokens.size(), 12u);
  s.stop = {tokens[3]};
  const auto end = std::find(tokens.begin(), tokens.end(), tokens[3]);
  conversation.turns.clear();
  const Heard heard = ask(chat, conversation, "Hi", s);
  EXPECT_EQ(heard.reply.generation.finish_reason, FinishReason::kStop);
  EXPECT_EQ(heard.reply.answer, tokenizer_->decode({tokens.begin(), end}, DecodeSpecial::kKeep));
}

TEST_F(ChatSessionTest, AStopTextEndsTheAnswer) {
  ChatSession chat = session();
  Conversation conversation;
  ChatSettings s = settings(12);
  const std::string whole = ask(chat, conversation, "Hi", s).reply.answer;
  ASSERT_GT(whole.size(), 6u);
  s.stop_texts = {whole.substr(3, 3)};
  conversation.turns.clear();
  const Heard heard = ask(chat, conversation, "Hi", s);
  EXPECT_EQ(heard.reply.answer, whole.substr(0, whole.find(s.stop_texts[0])));
  EXPECT_EQ(heard.reply.generation.finish_reason, FinishReason::kStop);
  // What only began like one is said at the end.
  s.stop_texts = {whole.substr(whole.size() - 2) + "and more"};
  conversation.turns.clear();
  const Heard uncut = ask(chat, conversation, "Hi", s);
  EXPECT_EQ(uncut.reply.answer, whole);
  EXPECT_EQ(uncut.text, whole);
}

TEST_F(ChatSessionTest, AFailingTemplateChangesNothing) {
  const ChatTemplate strict("{{ raise_exception('no system message') }}", "", "", "t");
  ChatSession chat(*model_, *tokenizer_, strict, kContext);
  Conversation conversation;
  EXPECT_THROW(ask(chat, conversation, "Hi", settings()), Error);
  EXPECT_TRUE(conversation.turns.empty());
}

}  // namespace
}  // namespace qx
