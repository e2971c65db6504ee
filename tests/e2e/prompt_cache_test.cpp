// What was read once is not read again: cache-prompt and generate, chat.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>

#include "run_qx.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

class PromptCache : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    root_ = fresh_directory("prompt_cache");
    write_tiny_model(root_ / "m", {.context = 4096});
    write_tiny_model(root_ / "other", {.seed = 2, .context = 4096});
    write_tiny_model(root_ / "bare", {.context = 4096, .chat_template = false});
  }
  static std::string path(const std::string& name) { return (root_ / name).string(); }
  static std::vector<std::string> verb(const std::string& name, const std::string& model,
                                       const std::string& prompt,
                                       const std::vector<std::string>& more) {
    std::vector<std::string> out = {name, "-m", path(model), "-p", prompt, "--threads", "2"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  static Json generate(const std::string& model, const std::string& prompt,
                       const std::vector<std::string>& more) {
    std::vector<std::string> arguments = verb("generate", model, prompt, more);
    arguments.insert(arguments.end(), {"--max-tokens", "12"});
    return run_json(arguments);
  }
  static Outcome failing(std::vector<std::string> arguments, int code) {
    const Outcome outcome = run_qx(arguments);
    EXPECT_EQ(outcome.exit_code, code) << outcome.err;
    return outcome;
  }

  static inline fs::path root_;
};

constexpr const char* kText = "word1 word2 word3 and so on, for a while; ";

TEST_F(PromptCache, GenerateGoesOnAsIfItHadReadTheText) {
  for (const std::string bits : {"32", "16", "8", "4"}) {
    SCOPED_TRACE(bits);
    const std::string file = path("text" + bits);
    const Json made = run_json(verb("cache-prompt", "m", kText, {"-o", file, "--kv-bits", bits}));
    const std::int64_t tokens = made.at("prompt_tokens");
    EXPECT_GT(tokens, 10);
    EXPECT_EQ(made.at("bytes"), fs::file_size(file));
    const Json plain = generate("m", std::string(kText) + "What?", {"--kv-bits", bits});
    const Json cached = generate("m", "What?", {"--kv-bits", bits, "--prompt-cache-file", file});
    EXPECT_EQ(cached.at("tokens"), plain.at("tokens"));
    EXPECT_EQ(cached.at("prompt_tokens"), plain.at("prompt_tokens"));
    EXPECT_EQ(cached.at("reused_tokens"), tokens);
    EXPECT_EQ(plain.at("reused_tokens"), 0);
  }
}

TEST_F(PromptCache, OfABareText) {
  for (const std::string model : {"bare", "m"}) {
    const std::string file = path("bare_text_" + model);
    const std::vector<std::string> bare = {"--ignore-chat-template"};
    std::vector<std::string> options = {"-o", file, "--system-prompt", "x"};
    options.insert(options.end(), bare.begin(), bare.end());
    failing(verb("cache-prompt", model, kText, options), 2);
    options.erase(options.begin() + 2, options.begin() + 4);
    run_json(verb("cache-prompt", model, kText, options));
    EXPECT_EQ(generate(model, "more", {"--prompt-cache-file", file}).at("tokens"),
              generate(model, std::string(kText) + "more", bare).at("tokens"));
    // Nothing more: the last token goes through the model again.
    EXPECT_EQ(generate(model, "", {"--prompt-cache-file", file}).at("tokens"),
              generate(model, kText, bare).at("tokens"));
    failing(verb("generate", model, "x", {"--prompt-cache-file", file, "--prefill-response", "a"}),
            2);
  }
}

TEST_F(PromptCache, OfAnotherModelOrSettingIsRefused) {
  const std::string file = path("refused");
  run_json(verb("cache-prompt", "m", kText, {"-o", file, "--system-prompt", "Be brief."}));
  const auto why = [&](const std::string& model, const std::vector<std::string>& more) {
    std::vector<std::string> arguments =
        verb("generate", model, "x", {"--prompt-cache-file", file});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return failing(arguments, 1).err;
  };
  EXPECT_NE(why("other", {}).find("files.model.safetensors"), std::string::npos);
  EXPECT_NE(why("m", {"--kv-bits", "8"}).find("kv_bits: got 32, expected 8"), std::string::npos);
  EXPECT_NE(why("m", {"--precision", "fast"}).find("precision"), std::string::npos);
  failing(verb("generate", "m", "x", {"--prompt-cache-file", file, "--system-prompt", "y"}), 2);
  failing(verb("generate", "m", "x", {"--prompt-cache-file", path("absent")}), 1);
  failing(verb("generate", "m", "x", {"--prompt-cache-file", path("m/config.json")}), 1);
  failing(verb("generate", "m", "x", {"--prompt-cache-file", path("m/model.safetensors")}), 1);
  // A prompt that does not fit is an error as without.
  failing(verb("generate", "m", "x", {"--prompt-cache-file", file, "--ctx", "5"}), 1);

  failing(verb("cache-prompt", "m", kText, {"-o", file}), 1);
  run_json(verb("cache-prompt", "m", kText, {"-o", file, "--force"}));
  const Outcome keeps =
      failing(verb("cache-prompt", "m", kText, {"-o", path("m/model.safetensors"), "--force"}), 1);
  EXPECT_NE(keeps.err.find("is no prompt cache"), std::string::npos) << keeps.err;
}

// "prompt: 12 of 40 tokens new" of the last answer.
std::pair<int, int> read_and_all(const std::string& err) {
  std::pair<int, int> out{-1, -1};
  const std::size_t at = err.rfind("prompt: ");
  if (at != std::string::npos) {
    std::sscanf(err.c_str() + at, "prompt: %d of %d tokens new", &out.first, &out.second);
  }
  return out;
}

std::string content(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_F(PromptCache, AChatGoesOnWithoutReadingAgain) {
  const std::string file = path("chat_cache"), turns = path("turns.json");
  const auto chat = [&](const std::string& input, std::vector<std::string> more) {
    std::vector<std::string> arguments = {"chat", "-m",           path("m"),      "--threads",
                                          "2",    "--no-history", "--max-tokens", "5"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run_qx(arguments, input);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome;
  };
  chat("A first message\n/save " + turns + "\n", {"--prompt-cache-file", file});
  const Outcome plain = chat("And then?\n", {"--load", turns});
  const Outcome cached = chat("And then?\n", {"--load", turns, "--prompt-cache-file", file});
  EXPECT_EQ(cached.out, plain.out);
  const auto [all_read, all] = read_and_all(plain.err);
  const auto [read, again] = read_and_all(cached.err);
  EXPECT_EQ(all_read, all);
  EXPECT_EQ(all, again);
  EXPECT_LT(read, all / 2) << cached.err;
  EXPECT_NE(cached.err.find("tokens are there from"), std::string::npos) << cached.err;
  // The second chat saved more than the first.
  const auto size = fs::file_size(file);
  chat("And then?\nAnd then?\n", {"--load", turns, "--prompt-cache-file", file});
  EXPECT_GT(fs::file_size(file), size);
  // A chat that ends with another model leaves the first one's alone; back with it, it saves.
  const auto before = content(file);
  const Outcome moved =
      chat("Hi\n/model " + path("other") + "\nHi\n", {"--prompt-cache-file", file});
  EXPECT_EQ(content(file), before);
  EXPECT_NE(moved.err.find("was left alone"), std::string::npos) << moved.err;
  chat("/model " + path("other") + "\nHi\n/model " + path("m") + "\nHi\n",
       {"--prompt-cache-file", file});
  EXPECT_NE(content(file), before);
  EXPECT_EQ(
      run_qx({"chat", "-m", path("other"), "--no-history", "--prompt-cache-file", file}, "x\n")
          .exit_code,
      1);
}

}  // namespace
}  // namespace qx::e2e
