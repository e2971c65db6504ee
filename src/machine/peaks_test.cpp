// The probes really do the work that they claim; how fast is no matter of a test.
// SPDX-License-Identifier: Apache-2.0
#include "machine/peaks.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/api.h"

namespace qx {
namespace {

TEST(Probes, EveryKernelTableHasSome) {
  const KernelTables& all = available_kernels();
  for (int i = 0; i < all.count; ++i) {
    const ProbeTable& probes = probes_for(all.tables[i]->name);
    EXPECT_NE(probes.read, nullptr) << all.tables[i]->name;
    // Any aarch64 has the kernels "neon", but not the dot products that its probes measure.
    const std::string name = all.tables[i]->name;
    if (name != "scalar" && name != "neon") {
      EXPECT_STRNE(probes.name, "portable") << all.tables[i]->name;
    }
  }
  EXPECT_STREQ(probes_for("scalar").name, "portable");
  EXPECT_STREQ(probes_for("no such kernels").name, "portable");
}

TEST(Probes, ReadTakesEveryByteOnce) {
  for (const std::string name : {"scalar", best_probes().name}) {
    const ProbeTable& probes = probes_for(name);
    std::vector<std::byte> data(3 * 4096, std::byte{0});
    EXPECT_EQ(probes.read(data.data(), data.size()), 0u);
    for (std::size_t i = 0; i < data.size(); i += 61) {
      data[i] = std::byte{1};
      EXPECT_NE(probes.read(data.data(), data.size()), 0u) << name << ", byte " << i;
      data[i] = std::byte{0};
    }
  }
}

// Small integers, so the sums are exact: every chain of `run` adds the same products each step.
TEST(Probes, IntegerSumsGrowWithTheSteps) {
  const ProbeTable& probes = best_probes();
  for (const ComputeProbe* probe : {&probes.int8, &probes.int16, &probes.f32}) {
    if (probe->run == nullptr) GTEST_SKIP() << "no instruction set with probes here";
    EXPECT_NE(probe->run(1), probe->run(2)) << probe->instruction;
    EXPECT_EQ(probe->run(5), probe->run(5)) << probe->instruction;
    EXPECT_GT(probe->macs_per_step, 0) << probe->instruction;
  }
}

TEST(Peaks, AreMeasured) {
  const ProbeEffort effort{2, 1, 1};
  const ProbeTable& probes = best_probes();
  EXPECT_EQ(measure_gmacs(ComputeProbe{}, effort), 0.0);
  const bool some = probes.int8.run != nullptr;
  EXPECT_EQ(measure_gmacs(probes.int8, effort) > 0.0, some);
  const ReadBuffer buffer(10'000'000, 3);
  EXPECT_EQ(buffer.bytes() % (3 * 4096), 0u);
  EXPECT_GT(buffer.measure_gbs(probes), 0.0);
  EXPECT_GE(ReadBuffer::sensible_bytes(), std::size_t{1} << 30);
  EXPECT_FALSE(processor_name().empty());
}

}  // namespace
}  // namespace qx
