// SPDX-License-Identifier: Apache-2.0
#include "model/kv_segment.h"

#include <gtest/gtest.h>

namespace qx {
namespace {

constexpr KvShape kShape{2, 3, 4};

// A number that tells layer, head, kind, position and element apart.
float mark(std::int64_t layer, std::int64_t head, bool value, std::int64_t position,
           std::int64_t i) {
  return static_cast<float>((((layer * 3 + head) * 2 + value) * 1000 + position) * 4 + i);
}

void fill(CpuSegment& s, std::int64_t from) {
  for (std::int64_t layer = 0; layer < kShape.layers; ++layer) {
    for (std::int64_t head = 0; head < kShape.kv_heads; ++head) {
      for (std::int64_t p = from; p < s.length(); ++p) {
        for (std::int64_t i = 0; i < kShape.head_dim; ++i) {
          s.keys(layer, head)[p * kShape.head_dim + i] = mark(layer, head, false, p, i);
          s.values(layer, head)[p * kShape.head_dim + i] = mark(layer, head, true, p, i);
        }
      }
    }
  }
}

TEST(KvSegment, GrowingKeepsKeysAndValues) {
  CpuSegment s(nullptr, kShape, 100);
  for (const std::int64_t count : {1, 6, 2, 30, 61}) {
    const std::int64_t from = s.length();
    s.extend(count);
    fill(s, from);
  }
  ASSERT_EQ(s.end(), 100);
  for (std::int64_t layer = 0; layer < kShape.layers; ++layer) {
    for (std::int64_t head = 0; head < kShape.kv_heads; ++head) {
      for (std::int64_t p = 0; p < 100; ++p) {
        ASSERT_EQ(s.keys(layer, head)[p * 4 + 1], mark(layer, head, false, p, 1));
        ASSERT_EQ(s.values(layer, head)[p * 4 + 2], mark(layer, head, true, p, 2));
      }
    }
  }
}

TEST(KvSegment, AChildBeginsWhereItsParentEnds) {
  auto parent = std::make_shared<CpuSegment>(nullptr, kShape, 10);
  CpuSegment child(parent, kShape, 5);
  EXPECT_EQ(child.begin(), 0);
  parent->extend(7);
  EXPECT_EQ(child.begin(), 7);
  child.extend(2);
  EXPECT_EQ(child.end(), 9);
  child.truncate(8);
  EXPECT_EQ(child.end(), 8);
  EXPECT_THROW(child.truncate(9), InternalError);
  EXPECT_THROW(child.truncate(6), InternalError);
}

TEST(KvSegment, AParentMayNotChangeUnderItsChildren) {
  auto parent = std::make_shared<CpuSegment>(nullptr, kShape, 10);
  parent->extend(3);
  {
    CpuSegment child(parent, kShape, 5);
    parent->extend(1);  // the child is empty
    child.extend(1);
    EXPECT_THROW(parent->extend(1), InternalError);
    EXPECT_THROW(parent->truncate(2), InternalError);
    child.truncate(child.begin());
    parent->extend(1);
    child.extend(1);
  }
  parent->extend(1);  // the child is gone
  EXPECT_EQ(parent->end(), 6);
  EXPECT_THROW(parent->extend(5), InternalError);  // capacity
}

}  // namespace
}  // namespace qx
