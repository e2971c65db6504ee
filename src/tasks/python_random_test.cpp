// Goldens are CPython 3.11's; many more are drawn from the interpreter in tests/parity/test_fewshot.py.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/python_random.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace qx {
namespace {

using Ints = std::vector<std::int64_t>;

TEST(PythonRandom, SampleIsPythons) {
  EXPECT_EQ(PythonRandom(1234).sample(1000, 5), (Ints{989, 796, 451, 119, 7}));
  EXPECT_EQ(PythonRandom(123).sample(1000, 6), (Ints{53, 274, 89, 787, 417, 272}));
  PythonRandom random(123);
  EXPECT_EQ(random.sample(1119, 5), (Ints{107, 548, 178, 834, 545}));
  EXPECT_EQ(random.sample(1119, 5), (Ints{220, 78, 776, 1098, 680}));
}

TEST(PythonRandom, BitsArePythons) {
  // [Random(s).getrandbits(b) for s, b in ((0, 32), (0, 1), (1234, 64), (2**40 + 7, 33), (2**64 - 1, 64))]
  EXPECT_EQ(PythonRandom(0).bits(32), 3626764237u);
  EXPECT_EQ(PythonRandom(0).bits(1), 1u);
  EXPECT_EQ(PythonRandom(1234).bits(64), 14354624986284130233u);
  EXPECT_EQ(PythonRandom((1ull << 40) + 7).bits(33), 6930804954u);
  EXPECT_EQ(PythonRandom(~0ull).bits(64), 4589153898531806846u);
}

// Both ways of sampling, and beyond the first 624 words.
TEST(PythonRandom, EverySampleHoldsDifferentNumbers) {
  PythonRandom random(7);
  for (const std::int64_t n : {0, 1, 2, 21, 22, 85, 86, 1000}) {
    for (const std::int64_t k : {0, 1, 5, 6, 21, 300}) {
      if (k > n) continue;
      Ints drawn = random.sample(n, k);
      EXPECT_EQ(static_cast<std::int64_t>(drawn.size()), k);
      std::sort(drawn.begin(), drawn.end());
      EXPECT_EQ(std::adjacent_find(drawn.begin(), drawn.end()), drawn.end());
      EXPECT_TRUE(drawn.empty() || (drawn.front() >= 0 && drawn.back() < n));
    }
  }
}

}  // namespace
}  // namespace qx
