// qx perplexity and qx divergence as a user runs them, on a tiny random model.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "run_qx.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

class Distance : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fresh_directory("distance");
    write_tiny_model(root_ / "base", {.family = "qwen3", .context = 128});
    for (const std::string recipe : {"q4-hi", "q3"}) {
      const Outcome o = run_qx(
          {"convert", "-m", root_ / "base", "-o", root_ / recipe, "--recipe", recipe, "--quiet"});
      ASSERT_EQ(o.exit_code, 0) << o.err;
    }
    write("text.txt", tiny_text(120));
  }
  // Options of `more` replace equal ones, but for -m.
  static std::vector<std::string> with(std::vector<std::string> command,
                                       const std::vector<std::string>& more) {
    for (const std::string& option : more) {
      if (option.rfind("--", 0) != 0) continue;
      const auto at = std::find(command.begin(), command.end(), option);
      if (at != command.end()) command.erase(at, at + 2);
    }
    command.insert(command.end(), more.begin(), more.end());
    return command;
  }
  fs::path write(const std::string& name, const std::string& text) {
    std::ofstream(root_ / name, std::ios::binary) << text;
    return root_ / name;
  }
  std::vector<std::string> perplexity(const std::vector<std::string>& more) const {
    return with({"perplexity", "-m", root_ / "base", "--text", root_ / "text.txt", "--ctx", "40"},
                more);
  }
  std::vector<std::string> divergence(const std::string& variant,
                                      const std::vector<std::string>& more = {}) const {
    return with({"divergence", "-m", root_ / variant, "--base", root_ / "base", "--text",
                 root_ / "text.txt", "--ctx", "40"},
                more);
  }
  fs::path root_;
};

TEST_F(Distance, PerplexityOfEachConventionAndEveryThreadCount) {
  for (const std::string convention : {"llama.cpp", "mlx-lm", "sliding"}) {
    const Json one = run_json(perplexity({"--convention", convention, "--threads", "1"}));
    const Json other =
        run_json(perplexity({"--convention", convention, "--threads", "3", "--isa", "scalar"}));
    for (const char* key : {"ppl", "stderr", "stderr_windows", "tokens", "ctx", "stride"}) {
      EXPECT_TRUE(one.at(key).is_number()) << convention << key;
      EXPECT_EQ(one.at(key), other.at(key)) << convention << key;
    }
    EXPECT_EQ(one["precision"], "reference");
    EXPECT_EQ(one["windows"]["convention"], convention);
    EXPECT_GT(one["ppl"], 1.0);
    EXPECT_FALSE(one["model"]["files"].empty());
    EXPECT_EQ(one["text"]["sha256"].get<std::string>().size(), 64u);
  }
  EXPECT_EQ(run_json(perplexity({"--chunks", "3"}))["tokens"], 3 * 19);
  EXPECT_EQ(run_json(perplexity({"--stride", "10", "--chunks", "2"}))["tokens"], 20);
  const Outcome text = run_qx(perplexity({}));
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_EQ(text.out.rfind("perplexity ", 0), 0u) << text.out;
}

TEST_F(Distance, ChatTextGoesThroughTheTemplate) {
  const Json plain = run_json(perplexity({"--convention", "sliding"}));
  const Json chat = run_json(perplexity({"--convention", "sliding", "--chat"}));
  EXPECT_EQ(chat["text"]["chat"], true);
  EXPECT_GT(chat["text"]["documents"], 1);
  EXPECT_NE(chat["text"]["tokens_sha256"], plain["text"]["tokens_sha256"]);
  const fs::path rows = write("rows.jsonl",
                              "{\"messages\": [{\"role\": \"user\", \"content\": \"Who are "
                              "you?\"}, {\"role\": \"assistant\", "
                              "\"content\": \"A model.\"}]}\n{\"text\": \"plain\"}\n");
  const Json mixed = run_json({"perplexity", "-m", root_ / "base", "--text", rows, "--ctx", "40",
                               "--convention", "sliding"});
  EXPECT_EQ(mixed["text"]["documents"], 2);
}

TEST_F(Distance, AModelHasNoDivergenceFromItself) {
  const Json json = run_json(divergence("base", {"--worst", "3"}));
  EXPECT_EQ(json["kl_mean"], 0.0);
  EXPECT_EQ(json["kl_max"], 0.0);
  EXPECT_EQ(json["top1_agreement"], 1.0);
  EXPECT_EQ(json["ln_ppl_ratio"], 0.0);
  EXPECT_EQ(json["variants"]["base"]["worst"].size(), 3u);
}

TEST_F(Distance, MemoryFileAndTogetherGiveTheSameBits) {
  const fs::path cache = root_ / "base.states";
  const Json memory = run_json(divergence("q4-hi"));
  const Json& variant = memory["variants"]["q4-hi"];
  EXPECT_GT(variant["kl_mean"], 0.0);
  EXPECT_EQ(memory["kl_mean"], variant["kl_mean"]);
  const Json ppl =
      run_json({"perplexity", "-m", root_ / "q4-hi", "--text", root_ / "text.txt", "--ctx", "40"});
  EXPECT_EQ(ppl["ppl"], variant["ppl"]);
  EXPECT_EQ(run_json(perplexity({}))["ppl"], variant["ppl_base"]);

  EXPECT_EQ(run_json(divergence("q4-hi", {"--together", "--threads", "3"}))["variants"]["q4-hi"],
            variant);
  EXPECT_EQ(run_json(divergence("q4-hi", {"--base-cache", cache}))["variants"]["q4-hi"], variant);
  const auto written = fs::last_write_time(cache);
  EXPECT_EQ(run_json(divergence("q4-hi",
                                {"--base-cache", cache, "--isa", "scalar"}))["variants"]["q4-hi"],
            variant);
  EXPECT_EQ(fs::last_write_time(cache), written);
  const Json several = run_json(divergence("q3", {"-m", root_ / "q4-hi", "--base-cache", cache}));
  EXPECT_EQ(several["variants"]["q4-hi"], variant);
  EXPECT_EQ(several["variants"].size(), 2u);
  EXPECT_FALSE(several.contains("kl_mean"));

  // Another text, other windows: not these states.
  const Outcome other = run_qx(divergence("q4-hi", {"--base-cache", cache, "--chunks", "2"}));
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_NE(other.err.find("windows"), std::string::npos) << other.err;
  EXPECT_EQ(fs::last_write_time(cache), written);
  EXPECT_EQ(
      run_qx(divergence("q4-hi", {"--base-cache", cache, "--chunks", "2", "--force"})).exit_code,
      0);
  std::ofstream(cache, std::ios::in | std::ios::out | std::ios::binary).seekp(10000) << "x";
  const Outcome damaged = run_qx(divergence("q4-hi", {"--base-cache", cache, "--chunks", "2"}));
  EXPECT_EQ(damaged.exit_code, 1);
  EXPECT_NE(damaged.err.find("damaged"), std::string::npos) << damaged.err;
}

TEST_F(Distance, TextOutputHasNoControlCharactersOfTheText) {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "\x1b[31m\xC2\x9B red";
  write("text.txt", text);
  const Outcome o = run_qx(divergence("q3"));
  EXPECT_EQ(o.exit_code, 0) << o.err;
  EXPECT_EQ(o.out.find('\x1b'), std::string::npos);
  EXPECT_EQ(o.out.find("\xC2\x9B"), std::string::npos);
  EXPECT_NE(o.out.find("\\u{1b}"), std::string::npos) << o.out;
}

TEST_F(Distance, BadInputIsAMessage) {
  const auto expect = [&](std::vector<std::string> command, int code, const std::string& part) {
    const Outcome o = run_qx(command);
    EXPECT_EQ(o.exit_code, code) << o.err;
    EXPECT_NE(o.err.find(part), std::string::npos) << o.err;
    EXPECT_TRUE(o.out.empty()) << o.out;
  };
  const auto with_text = [&](const std::string& text) {
    write("text.txt", text);
    return perplexity({});
  };
  expect(perplexity({"--ctx", "2000"}), 1, "positions");
  expect(perplexity({"--ctx", "1"}), 2, "--ctx");
  expect(perplexity({"--convention", "sliding", "--stride", "41"}), 2, "--stride");
  expect(perplexity({"--convention", "mine"}), 2, "--convention");
  expect(perplexity({"--text", root_ / "missing.txt"}), 1, "missing.txt");
  expect(perplexity({"--text", root_}), 1, root_.string());
  expect(divergence("q3", {"--base", root_ / "nothing"}), 1, "nothing");
  expect(divergence("q3", {"--together", "--base-cache", root_ / "x"}), 2, "--together");
  expect(divergence("q3", {"-m", root_ / "q3"}), 2, "two models are named");
  const Outcome memory = run_qx(divergence("q3"), "", {"QX_MEMORY_LIMIT=1MB"});
  EXPECT_EQ(memory.exit_code, 1);
  EXPECT_NE(memory.err.find("memory"), std::string::npos) << memory.err;
  fs::create_directory(root_ / "odd");
  for (const auto& entry : fs::directory_iterator(root_ / "base")) {
    fs::copy(entry.path(), root_ / "odd");
  }
  std::string tokenizer = tiny_tokenizer_json();
  const std::size_t at = tokenizer.find("<|im_end|>");
  ASSERT_NE(at, std::string::npos);
  for (std::size_t i = at; i != std::string::npos; i = tokenizer.find("<|im_end|>", i)) {
    tokenizer.replace(i, 10, "<|im_fin|>");
  }
  fs::remove(root_ / "odd" / "tokenizer_config.json");
  write("odd/tokenizer.json", tokenizer);
  expect(divergence("odd"), 1, "vocabulary");
  expect(with_text(""), 1, "empty");
  expect(with_text("short"), 1, "expected 80 or more");
  expect(with_text("fine\nbad \xFF\n"), 1, "text.txt:2]");
}

}  // namespace
}  // namespace qx::e2e
