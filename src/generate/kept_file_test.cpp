// What a prompt cache belongs to, and how much of one is taken.
// SPDX-License-Identifier: Apache-2.0
#include "generate/kept_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "base/build_info.h"
#include "kernels/api.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

class KeptFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_kept_file_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }
  // In a directory of its own, since hashes are kept by path, size and time.
  Json identity_of(const std::string& name, const TinyModel& options,
                   Precision precision = Precision::kExact, KvBits bits = KvBits::k32) {
    write_tiny_model(root_ / name, options);
    return kv_identity(root_ / name, precision, bits);
  }

  fs::path root_;
};

TEST_F(KeptFileTest, TheIdentityIsAllThatValuesDependOn) {
  const Json plain = identity_of("a", {.layers = 2});
  EXPECT_EQ(plain.at("version"), build_info().version);
  EXPECT_EQ(plain.at("precision"), "exact");
  EXPECT_EQ(plain.at("kv_bits"), 32);
  EXPECT_FALSE(plain.contains("kernels"));
  EXPECT_FALSE(plain.at("plan_hash").get<std::string>().empty());
  EXPECT_EQ(plain.at("files").size(), 2U);
  EXPECT_EQ(identity_of("b", {.layers = 2, .tokenizer = false, .chat_template = false}), plain);
  EXPECT_EQ(identity_of("c", {.layers = 2}, Precision::kFast).at("kernels"), kernels().name);

  const auto file = [](const Json& identity, const char* name) {
    return identity.at("files").at(name);
  };
  const Json weights = identity_of("d", {.seed = 2, .layers = 2});
  EXPECT_EQ(file(weights, "config.json"), file(plain, "config.json"));
  EXPECT_NE(file(weights, "model.safetensors"), file(plain, "model.safetensors"));
  const Json config =
      identity_of("e", {.layers = 2, .config_changes = Json{{"rope_theta", 1234.0}}});
  EXPECT_NE(file(config, "config.json"), file(plain, "config.json"));
  EXPECT_EQ(file(config, "model.safetensors"), file(plain, "model.safetensors"));
}

TEST_F(KeptFileTest, OfALongerTextTheBeginningIsTaken) {
  write_tiny_model(root_ / "m", {.layers = 2, .tokenizer = false, .chat_template = false});
  ThreadPool pool(1);
  const auto model = load_model(root_ / "m", pool, Precision::kReference);
  const std::vector<TokenId> text = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21};
  KeptSequence whole(*model, 32);
  whole.append(text, false);
  save_sequence(whole, root_ / "file", {Json(), Json(), "m"}, false);
  const KvFile file(root_ / "file");

  for (const std::int64_t context : {7, 17, 32}) {
    KeptSequence kept(*model, context), read(*model, context);
    kept.append(std::vector<TokenId>{1, 2}, false);  // makes way
    const std::int64_t count = std::min<std::int64_t>(context, 17);
    EXPECT_EQ(restore_sequence(file, *model, kept), count);
    const std::vector<TokenId> taken(text.begin(), text.begin() + count);
    EXPECT_TRUE(std::ranges::equal(kept.tokens(), taken));
    // The last token again, behind what is there.
    read.append(taken, false);
    kept.truncate(count - 1);
    read.truncate(count - 1);
    EXPECT_EQ(kept.append(std::span(taken).last(1), true).values,
              read.append(std::span(taken).last(1), true).values);
  }
}

}  // namespace
}  // namespace qx
