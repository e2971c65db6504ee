// qx card and qx publish as a user runs them: models, real evaluations, a card, its check, its
// audit.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "run_qx.h"
#include "support/tiny_model.h"

namespace qx::e2e {
namespace {
namespace fs = std::filesystem;

class CardFile : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    root_ = fresh_directory("card");
    write_tiny_model(root_ / "base", {.layers = 2, .context = 2048});
    for (const std::string recipe : {"q8", "q2"}) {
      const Outcome o = run_qx(
          {"convert", "-m", root_ / "base", "-o", root_ / recipe, "--recipe", recipe, "--quiet"});
      ASSERT_EQ(o.exit_code, 0) << o.err;
    }
    const Outcome o = run_qx({"eval", "-m", root_ / "base", "-m", root_ / "q8", "-m", root_ / "q2",
                              "--tasks", "arc_easy,boolq,piqa", "--limit", "25", "--plain", "-o",
                              root_ / "runs", "--quiet"});
    ASSERT_EQ(o.exit_code, 0) << o.err;
  }

  static fs::path run(const std::string& name) { return root_ / "runs" / name; }
  static std::vector<std::string> card_command(const fs::path& file) {
    return {"card", run("q2"), "--with", run("base"), run("q8"), "--license", "mit", "-o", file};
  }
  static std::string read(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void write(const fs::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  static Outcome check(const fs::path& file) {
    return run_qx({"card", "--check", file, "--runs", root_ / "runs"});
  }
  static fs::path root_;
};
fs::path CardFile::root_;

TEST_F(CardFile, IsWrittenCheckedAndPassesTheAudit) {
  const fs::path file = root_ / "README.md";
  const Outcome o = run_qx(card_command(file));
  ASSERT_EQ(o.exit_code, 0) << o.err;
  for (const char* what : {"language", "base_model", "speed", "divergence"}) {
    EXPECT_NE(o.err.find(std::string("left out: ") + what), std::string::npos) << o.err;
  }
  EXPECT_EQ(o.err.find("license"), std::string::npos) << o.err;
  const std::string text = read(file);
  // The base is known from the source's hashes; no path of this machine is in the card.
  EXPECT_NE(text.find("### Against the base (paired)"), std::string::npos) << text;
  EXPECT_NE(text.find("recipe `q2`"), std::string::npos);
  EXPECT_EQ(text.find(root_.string()), std::string::npos);
  EXPECT_EQ(run_qx(card_command(file)).exit_code, 1);  // it is there already

  const Outcome same = check(file);
  EXPECT_EQ(same.exit_code, 0) << same.out << same.err;
  EXPECT_NE(same.out.find(" 0 no longer match"), std::string::npos) << same.out;

  const Json audit = run_json({"audit", file});
  for (const Json& claim : audit["claims"]) {
    EXPECT_NE(claim["verdict"], "contradicted") << claim;
    EXPECT_NE(claim["verdict"], "not supported") << claim;
  }

  // The same card for any number of runs of the command.
  const fs::path again = root_ / "again.md";
  ASSERT_EQ(run_qx(card_command(again)).exit_code, 0);
  EXPECT_EQ(read(again), text);
}

TEST_F(CardFile, AChangedCardIsExitCode3WithTheLine) {
  const fs::path file = root_ / "changed.md";
  ASSERT_EQ(run_qx(card_command(file)).exit_code, 0);
  std::string text = read(file);
  const std::size_t at = text.find("value: 0.");
  ASSERT_NE(at, std::string::npos);
  text.replace(at, 9, "value: 0.9");
  const auto line =
      std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n') + 1;
  write(file, text);
  const Outcome o = check(file);
  EXPECT_EQ(o.exit_code, 3) << o.out << o.err;
  EXPECT_NE(o.out.find("changed.md:" + std::to_string(line) + ": front matter, "),
            std::string::npos)
      << o.out;
  const Outcome json = run_qx({"card", "--check", file, "--runs", root_ / "runs", "--json"});
  EXPECT_EQ(json.exit_code, 3);
  EXPECT_EQ(parse_json(json.out, "stdout")["problems"][0]["line"], line);
}

TEST_F(CardFile, BadInputIsAMessage) {
  const auto expect = [&](const std::vector<std::string>& command, int code,
                          const std::string& part) {
    const Outcome o = run_qx(command);
    EXPECT_EQ(o.exit_code, code) << o.err;
    EXPECT_NE(o.err.find(part), std::string::npos) << o.err;
  };
  expect({"card"}, 2, "expected RUNS/A");
  expect({"card", run("q2"), "--check", "x"}, 2, "--check");
  expect({"card", "--check", root_ / "x.md"}, 2, "--runs");
  expect({"card", "--check", root_ / "x.md", "--runs", root_ / "runs"}, 1, "x.md");
  expect({"card", root_ / "base"}, 1, "run.json");
  expect({"card", run("q2"), "--base", "q8"}, 2, "--base");
  expect({"card", run("q2"), "--with", run("base"), run("q8"), "--base", "q8"}, 1, "hashes");
  expect({"card", run("q2"), "--with", run("base"), "--margin", "2"}, 2, "margin");
  write(root_ / "bomb.md", "---\na: &a [x]\nb: *a\n---\n");
  expect({"card", "--check", root_ / "bomb.md", "--runs", root_ / "runs"}, 1, "bomb.md:2");
  expect({"publish", root_ / "base"}, 2, "hf upload");
  expect({"publish", root_ / "nothing", "--dry-run"}, 1, "nothing");
}

TEST_F(CardFile, PublishListsWhatWouldGoUp) {
  const fs::path copy = root_ / "copy";
  fs::copy(root_ / "q8", copy);
  const Outcome bare = run_qx({"publish", copy, "--dry-run"});
  EXPECT_EQ(bare.exit_code, 3);
  EXPECT_NE(bare.out.find("problem: README.md: missing"), std::string::npos) << bare.out;
  ASSERT_EQ(run_qx({"card", run("q8"), "--with", run("base"), "--license", "mit", "-o",
                    copy / "README.md", "--quiet"})
                .exit_code,
            0);
  const Outcome good = run_qx({"publish", copy, "--dry-run", "--repository", "me/mine"});
  EXPECT_EQ(good.exit_code, 0) << good.out << good.err;
  EXPECT_NE(good.out.find("model.safetensors"), std::string::npos);
  EXPECT_NE(good.out.find("hf upload me/mine"), std::string::npos);
  // A card of other weights does not go with these.
  ASSERT_EQ(run_qx({"card", run("q2"), "--with", run("base"), "--license", "mit", "-o",
                    copy / "README.md", "--quiet", "--force"})
                .exit_code,
            0);
  const Outcome other = run_qx({"publish", copy, "--dry-run"});
  EXPECT_EQ(other.exit_code, 3);
  EXPECT_NE(other.out.find("is about plan"), std::string::npos) << other.out;
}

}  // namespace
}  // namespace qx::e2e
