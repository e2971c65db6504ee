// SPDX-License-Identifier: Apache-2.0
#include "model/memory_need.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace qx {
namespace {

constexpr std::int64_t kGB = 1'000'000'000;

MemoryNeeds needs(std::int64_t weights, std::int64_t cache, std::int64_t activations = 0) {
  MemoryNeeds n;
  n.weights = weights;
  n.cache = cache;
  n.activations = activations;
  return n;
}

TEST(MemoryNeed, FitsWhileTheWholeIsAvailable) {
  EXPECT_EQ(judge_memory(needs(5, 2, 1), {16, 8}), MemoryVerdict::kFits);
  EXPECT_EQ(judge_memory(needs(6, 2, 1), {16, 8}), MemoryVerdict::kTight);
  EXPECT_EQ(judge_memory(needs(13, 2, 1), {16, 8}), MemoryVerdict::kTight);
}

TEST(MemoryNeed, RefusedBeyondThePhysicalMemory) {
  EXPECT_EQ(judge_memory(needs(14, 2, 1), {16, 16}), MemoryVerdict::kRefused);
  EXPECT_EQ(judge_memory(needs(14, 1, 1), {16, 16}), MemoryVerdict::kFits);
}

TEST(MemoryNeed, RefusedWhenContextAndActivationsAloneAreNotAvailable) {
  EXPECT_EQ(judge_memory(needs(1, 5, 4), {16, 8}), MemoryVerdict::kRefused);
  EXPECT_EQ(judge_memory(needs(1, 5, 3), {16, 8}), MemoryVerdict::kTight);
}

TEST(MemoryNeed, AnUnknownMachineTakesEverything) {
  EXPECT_EQ(judge_memory(needs(INT64_MAX / 4, INT64_MAX / 4), {0, 0}), MemoryVerdict::kFits);
}

TEST(MemoryNeed, TheMessageHasBothFiguresAndWhatToDo) {
  const MemoryNeeds n = needs(16 * kGB, 2 * kGB, kGB);
  const MachineMemory machine{16 * kGB, 12 * kGB};
  try {
    check_memory("m", n, 4096, machine, false);
    FAIL() << "expected an Error";
  } catch (const Error& e) {
    const std::string text = e.what();
    for (const char* part : {"[m]", "19.00 GB", "weights 16.00 GB", "4096 tokens", "2.00 GB",
                             "12.00 GB of 16.00 GB", "--allow-swap", "qx plan --fit 16.00GB"}) {
      EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
    }
  }
  const std::string warning = check_memory("m", n, 4096, machine, true);
  EXPECT_NE(warning.find("19.00 GB"), std::string::npos) << warning;
  EXPECT_NE(check_memory("m", needs(13 * kGB, 0), 1, machine, false), "");
  EXPECT_EQ(check_memory("m", needs(11 * kGB, 0), 1, machine, false), "");
}

// Eight ranks on one machine: eight contexts, one copy of the weights; and the rows of the passes that they make.
TEST(MemoryNeed, ProcessesShareWeightsAndNothingElse) {
  const TestFolder temp;
  write_tiny_model(temp / "m", TinyModel{});
  const ModelConfig config = load_model_config(temp / "m");
  const auto weights =
      static_cast<std::int64_t>(std::filesystem::file_size(temp / "m/model.safetensors"));
  const MemoryNeeds one = memory_needs(config, weights, 4096, 32, 1024);
  EXPECT_GT(one.activations, memory_needs(config, weights, 4096).activations);
  const auto limited_to = [&](std::int64_t bytes, int processes) {
    ::setenv("QX_MEMORY_LIMIT", std::to_string(bytes).append("B").c_str(), 1);
    const std::string warning =
        check_memory(temp / "m", config, 4096, KvBits::k32, false, 1024, processes);
    ::unsetenv("QX_MEMORY_LIMIT");
    return warning;
  };
  const std::int64_t fixed = one.cache + one.activations;
  EXPECT_EQ(limited_to(weights + fixed, 1), "");
  EXPECT_EQ(limited_to(weights + 8 * fixed, 8), "");
  EXPECT_THROW(limited_to(weights + 8 * fixed - 1, 8), Error);
  ::unsetenv("QX_MEMORY_LIMIT");
}

}  // namespace
}  // namespace qx
