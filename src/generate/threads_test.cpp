// Texts and their log-probabilities are the same bytes for every number of threads.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cstdint>
#include <string>

#include "generate/generate.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

struct Text {
  std::vector<TokenId> tokens;
  std::vector<std::uint64_t> bits;  // of every log-probability reported
  bool operator==(const Text&) const = default;
};

Text text(const fs::path& directory, int threads, double temperature) {
  ThreadPool pool(threads);
  const auto model = load_model(directory, pool, Precision::kExact);
  GenerateOptions options{.max_tokens = 24, .top_logprobs = 3, .report_logprobs = true};
  options.sampling.temperature = temperature;
  options.sampling.seed = 7;
  const std::vector<TokenId> prompt = {5, 80, 200, 31, 9, 9, 121};
  Text out;
  for (const StepLogprobs& step : generate(*model, prompt, options, [](TokenId) {}).logprobs) {
    out.tokens.push_back(step.id);
    out.bits.push_back(std::bit_cast<std::uint64_t>(step.logprob));
    for (const auto& [id, logprob] : step.top) {
      out.tokens.push_back(id);
      out.bits.push_back(std::bit_cast<std::uint64_t>(logprob));
    }
  }
  return out;
}

TEST(GenerateThreads, NoBitDependsOnTheirNumber) {
  std::string pattern = (fs::path(::testing::TempDir()) / "qx_generate_XXXXXX").string();
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  const fs::path directory = fs::path(pattern) / "m";
  write_tiny_model(directory, {.quantized = AffineSpec{6, 32}});
  for (const double temperature : {0.0, 0.9}) {
    const Text one = text(directory, 1, temperature);
    EXPECT_EQ(one.tokens.size(), 24u * 4);
    for (const int threads : {2, 3, 8}) {
      EXPECT_EQ(text(directory, threads, temperature), one) << threads;
    }
  }
  fs::remove_all(pattern);
}

}  // namespace
}  // namespace qx
