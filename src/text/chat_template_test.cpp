// Tests of chat templates: the texts that Hugging Face's renderer gave (tests/golden/chat, written by
// tests/parity/test_chat_template.py), loading, and continuing a message.
// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "text/tokenizer.h"

namespace qx {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(QX_SOURCE_DIR) / "tests/golden/chat";

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string render(const Json& test, const std::string& source) {
  ChatOptions options;
  options.add_generation_prompt = test.value("add_generation_prompt", false);
  options.continue_final_message = test.value("continue_final_message", false);
  options.tools = test.value("tools", Json());
  options.variables = test.value("variables", Json());
  return ChatTemplate(source, "<s>", "</s>", "golden")
      .render(test.value("messages", Json::array()), options);
}

// name -> {"output": ..} or {"error": ..}
Json expectations() {
  Json out = Json::object();
  std::istringstream lines(read_text(kGolden / "expected.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json expectation = parse_json(line, "expected.jsonl");
    out[expectation.at("name").get<std::string>()] = expectation;
  }
  return out;
}

void check(const Json& test, const std::string& name, const std::string& source,
           const Json& expected) {
  SCOPED_TRACE(name);
  ASSERT_TRUE(expected.contains(name));
  const Json& expectation = expected.at(name);
  try {
    const std::string output = render(test, source);
    ASSERT_TRUE(expectation.contains("output")) << output;
    EXPECT_EQ(output, expectation.at("output").get<std::string>());
  } catch (const Error& error) {
    ASSERT_TRUE(expectation.contains("error")) << error.what();
    const auto message = expectation.at("error").get<std::string>();
    EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
  }
}

TEST(ChatTemplateGolden, Features) {
  const Json expected = expectations();
  const Json features = read_json_file(kGolden / "features.json");
  ASSERT_GE(features.size(), 60U);
  for (const Json& test : features) {
    check(test, test.at("name").get<std::string>(), test.at("template").get<std::string>(),
          expected);
  }
}

TEST(ChatTemplateGolden, Families) {
  const Json expected = expectations();
  const Json talks = read_json_file(kGolden / "conversations.json");
  std::size_t families = 0;
  for (const auto& entry : fs::directory_iterator(kGolden / "families")) {
    const std::string source = read_text(entry.path());
    for (const Json& talk : talks) {
      const std::string name =
          entry.path().stem().string() + " / " + talk.at("name").get<std::string>();
      check(talk, name, source, expected);
    }
    ++families;
  }
  EXPECT_GE(families, 7U);
}

class ChatTemplateLoad : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::path(testing::TempDir()) /
        (std::string("qx_chat_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::string render_loaded() const {
    return ChatTemplate::load(folder_).value().render(Json::array(), {});
  }

  fs::path folder_;
};

TEST_F(ChatTemplateLoad, NothingWithoutTemplate) {
  EXPECT_FALSE(ChatTemplate::load(folder_).has_value());
  write("tokenizer_config.json", R"({"bos_token": "<s>", "chat_template": null})");
  EXPECT_FALSE(ChatTemplate::load(folder_).has_value());
}

TEST_F(ChatTemplateLoad, TheFileComesBeforeTheConfig) {
  write("tokenizer_config.json",
        R"({"chat_template": "config", "bos_token": {"content": "<b>"}, "eos_token": "<e>",
            "pad_token": null})");
  EXPECT_EQ(render_loaded(), "config");
  write("chat_template.jinja", "file {{ bos_token }}{{ eos_token }}{{ pad_token is defined }}");
  EXPECT_EQ(render_loaded(), "file <b><e>False");
}

TEST_F(ChatTemplateLoad, TakesTheDefaultOfNamedTemplates) {
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "tool_use", "template": "t"},
                              {"name": "default", "template": "d"}]})");
  EXPECT_EQ(render_loaded(), "d");
  write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "t"}]})");
  EXPECT_THROW(ChatTemplate::load(folder_), Error);
}

TEST_F(ChatTemplateLoad, ErrorsNameFileAndLine) {
  write("chat_template.jinja", "a\nb\n{% if %}\n");
  try {
    ChatTemplate::load(folder_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("chat_template.jinja:3]"), std::string::npos)
        << error.what();
  }
}

ChatTemplate simple() {
  return {"{% for m in messages %}[{{ m.content }}]{% endfor %}{{ 'go' if add_generation_prompt }}",
          "", "", "simple"};
}

TEST(ChatTemplate, ContinuesTheFinalMessage) {
  ChatOptions options;
  options.continue_final_message = true;
  const Json messages = {{{"role", "user"}, {"content", "Hi"}},
                         {{"role", "assistant"}, {"content", "Well, "}}};
  EXPECT_EQ(simple().render(messages, options), "[Hi][Well, ");
  EXPECT_THROW(simple().render(Json::array(), options), Error);
  EXPECT_THROW(simple().render({{{"role", "assistant"}}}, options), Error);
  EXPECT_THROW(simple().render({{{"role", "a"}, {"content", Json::array()}}}, options), Error);
  const ChatTemplate deaf("{{ messages|length }} content", "", "", "deaf");
  EXPECT_THROW(deaf.render(messages, options), Error);
}

TEST(ChatTemplate, TakesVariablesButNotItsOwn) {
  const ChatTemplate chat("{{ x }}{{ tools is none }}{{ bos_token is defined }}", "", "", "t");
  ChatOptions options;
  options.variables = {{"x", 5}};
  EXPECT_EQ(chat.render(Json::array(), options), "5TrueFalse");
  options.variables = {{"messages", 5}};
  EXPECT_THROW(chat.render(Json::array(), options), Error);
  options.variables = Json::array();
  EXPECT_THROW(chat.render(Json::array(), options), Error);
}

TEST(ChatTemplate, RefusesMessagesThatAreNone) {
  EXPECT_THROW(simple().render(Json::object(), {}), Error);
  EXPECT_THROW(simple().render(Json::array({"text"}), {}), Error);
}

TEST(ChatTemplate, MessagesMayHoldIllFormedText) {
  EXPECT_EQ(simple().render({{{"role", "user"}, {"content", "a\xFF\xE2\x82 b"}}}, {}),
            "[a\xEF\xBF\xBD\xEF\xBF\xBD b]go");
}

TEST(ChatTemplate, RefusesIllFormedSource) {
  EXPECT_THROW(ChatTemplate("a\xFF", "", "", "t"), Error);
  EXPECT_THROW(ChatTemplate("{{ '\xC3' }}", "", "", "t"), Error);
}

TEST(ChatTemplate, HashAndThinking) {
  const ChatTemplate chat("abc", "", "", "t");
  EXPECT_EQ(chat.hash(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(chat.source(), "abc");
  EXPECT_FALSE(chat.has_thinking());
  EXPECT_TRUE(ChatTemplate("{{ enable_thinking }}", "", "", "t").has_thinking());
  EXPECT_TRUE(ChatTemplate("<think>", "", "", "t").has_thinking());
}

TEST(ChatTemplate, ThinkingTokensAreKnownPairs) {
  const auto with = [](std::vector<std::string> tokens) {
    Json vocab = Json::object();
    for (const std::string& token : tokens) {
      vocab[token] = vocab.size();
    }
    const Json tokenizer = {
        {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}},
        {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
        {"decoder", {{"type", "ByteLevel"}}}};
    return has_thinking_tokens(Tokenizer::from_json(tokenizer.dump(), "{}", "test"));
  };
  EXPECT_TRUE(with({"a", "<think>", "</think>"}));
  EXPECT_TRUE(with({"<|channel>", "<channel|>"}));
  EXPECT_TRUE(with({"<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"}));
  EXPECT_FALSE(with({"<|open|>", "<|close|>", "<|sep|>"}));
  EXPECT_FALSE(with({"a", "<think>"}));
  EXPECT_FALSE(with({"<think>", "</longcat_think>"}));
}

}  // namespace
}  // namespace qx
