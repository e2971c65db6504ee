// SPDX-License-Identifier: Apache-2.0
#include "fit/ngram_sketch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace qx {
namespace {

std::string words(int first, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += "w" + std::to_string(first + i) + " ";
  return out;
}

TEST(NgramSketch, CountsSharedRunsOfThirteenWords) {
  EXPECT_TRUE(ngram_hashes(words(0, 12)).empty());
  EXPECT_EQ(ngram_hashes(words(0, 13)).size(), 1u);
  EXPECT_EQ(ngram_hashes(words(0, 100)).size(), 88u);
  NgramSketch sketch;
  sketch.add(words(0, 100));
  EXPECT_EQ(sketch.overlap(words(0, 100)).shared, 88u);
  // 20 words of it among others: 8 runs lie inside.
  const NgramOverlap some = sketch.overlap(words(1000, 30) + words(50, 20) + words(2000, 30));
  EXPECT_EQ(some.ngrams, 68u);
  EXPECT_EQ(some.shared, 8u);
  EXPECT_EQ(sketch.overlap(words(500, 100)).shared, 0u);
  sketch.add(words(500, 100));
  EXPECT_EQ(sketch.overlap(words(500, 100)).shared, 88u);
  EXPECT_TRUE(sketch.complete());
}

TEST(NgramSketch, CaseAndPunctuationDoNotMatterOrderDoes) {
  const std::string a = "The quick brown fox jumps over the lazy dog, and then it sleeps a bit.";
  const std::string b = "the QUICK brown fox -- jumps over\nthe lazy dog and then it sleeps a bit";
  EXPECT_EQ(ngram_hashes(a), ngram_hashes(b));
  EXPECT_NE(ngram_hashes(a), ngram_hashes("quick the" + b.substr(9)));
  EXPECT_EQ(ngram_hashes(words(0, 13)), ngram_hashes("  " + words(0, 13) + "!"));
}

TEST(NgramSketch, OfALongTextASampleIsKept) {
  NgramSketch sketch;
  sketch.add(words(0, 4000), 500);
  EXPECT_EQ(sketch.hashes().size(), 500u);
  EXPECT_FALSE(sketch.complete());
  const NgramOverlap same = sketch.overlap(words(0, 4000));
  EXPECT_EQ(same.ngrams, 500u);
  EXPECT_EQ(same.shared, 500u);
  const NgramOverlap half = sketch.overlap(words(2000, 4000));
  EXPECT_NEAR(static_cast<double>(half.shared), 0.5 * static_cast<double>(half.ngrams),
              0.15 * static_cast<double>(half.ngrams));
  EXPECT_EQ(NgramSketch().overlap(words(0, 100)).shared, 0u);
}

}  // namespace
}  // namespace qx
