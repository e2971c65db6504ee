// SPDX-License-Identifier: Apache-2.0
#include "model/kv_segment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/half.h"
#include "base/random.h"
#include "recipe/summary.h"

namespace qx {
namespace {

constexpr KvShape kShape{2, 3, 4, KvBits::k32};

// A number that tells layer, head, kind, position and element apart.
float mark(std::int64_t layer, std::int64_t head, bool value, std::int64_t position,
           std::int64_t i) {
  return static_cast<float>((((layer * 3 + head) * 2 + value) * 1000 + position) * 4 + i);
}

void fill(CpuSegment& s, std::int64_t from) {
  const std::int64_t dim = s.shape().head_dim;
  std::vector<float> key(dim), value(dim);
  for (std::int64_t layer = 0; layer < kShape.layers; ++layer) {
    for (std::int64_t head = 0; head < kShape.kv_heads; ++head) {
      for (std::int64_t p = from; p < s.length(); ++p) {
        for (std::int64_t i = 0; i < dim; ++i) {
          key[i] = mark(layer, head, false, p, i);
          value[i] = mark(layer, head, true, p, i);
        }
        s.store(layer, head, p, key.data(), value.data());
      }
    }
  }
}

// What is stored, read in one piece from position `first` (a multiple of 16).
struct Stored {
  std::vector<float> keys, values;  // [position][dim]
};
Stored stored(const CpuSegment& s, std::int64_t layer, std::int64_t head, std::int64_t first = 0) {
  const std::int64_t dim = s.shape().head_dim, count = s.length() - first;
  std::vector<float> scratch((count + 15) / 16 * 16 * dim);
  Stored out;
  const float* keys = s.keys(layer, head, first, count, scratch.data());
  for (std::int64_t p = 0; p < count; ++p) {
    for (std::int64_t i = 0; i < dim; ++i) {
      out.keys.push_back(keys[(p / 16 * dim + i) * 16 + p % 16]);
    }
  }
  const float* values = s.values(layer, head, first, count, scratch.data());
  out.values.assign(values, values + count * dim);
  return out;
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
      for (const std::int64_t first : {0, 48}) {
        const Stored all = stored(s, layer, head, first);
        for (std::int64_t p = first; p < 100; ++p) {
          for (std::int64_t i = 0; i < 4; ++i) {
            ASSERT_EQ(all.keys[(p - first) * 4 + i], mark(layer, head, false, p, i));
            ASSERT_EQ(all.values[(p - first) * 4 + i], mark(layer, head, true, p, i));
          }
        }
      }
    }
  }
}

// Numbers of many magnitudes, in a segment that grows and in one of its size from the start.
TEST(KvSegment, FewerBitsRoundOnce) {
  constexpr std::int64_t kDim = 80, kCount = 37;
  Random random(3);
  std::vector<float> keys(kCount * kDim), values(keys.size());
  for (float& v : keys) v = static_cast<float>(random.gaussian());
  for (float& v : values) v = static_cast<float>(random.gaussian() * 1e-3);
  keys[5] = 1e6f;  // beyond IEEE half
  keys[7] = -70000.0f;
  std::fill_n(values.begin() + 2 * kDim, kDim, 0.0f);
  for (const KvBits bits : {KvBits::k16, KvBits::k8, KvBits::k4}) {
    CpuSegment grown(nullptr, {1, 1, kDim, bits}, kCount), whole(nullptr, {1, 1, kDim, bits}, 50);
    whole.extend(kCount);
    for (std::int64_t p = 0; p < kCount; ++p) {
      grown.extend(1);
      grown.store(0, 0, p, keys.data() + p * kDim, values.data() + p * kDim);
      whole.store(0, 0, p, keys.data() + p * kDim, values.data() + p * kDim);
    }
    const Stored got = stored(grown, 0, 0), other = stored(whole, 0, 0);
    EXPECT_EQ(got.keys, other.keys);
    EXPECT_EQ(got.values, other.values);
    const auto check = [&](std::vector<float> in, const std::vector<float>& out) {
      for (std::int64_t p = 0; kv_rotated(bits) && p < kCount; ++p) {
        rotate_head(in.data() + p * kDim, kDim);
      }
      for (std::size_t i = 0; i < in.size(); ++i) {
        if (bits == KvBits::k16) {
          const float limited = std::clamp(in[i], -65504.0f, 65504.0f);
          EXPECT_EQ(out[i], f16_to_f32(f32_to_f16(limited))) << i;
          continue;
        }
        const std::size_t begin = i / kDim * kDim + i % kDim / 64 * 64;
        const std::size_t end = std::min(begin + 64, (i / kDim + 1) * kDim);
        const auto [low, high] = std::minmax_element(in.begin() + begin, in.begin() + end);
        // The bias is at most 2^-7 of the lowest below it, the scale 2^-7 of itself too large, and a
        // code half a scale off.
        const float most = bits == KvBits::k8 ? 255.0f : 15.0f;
        const float range = *high - *low + std::abs(*low) / 128;
        const float scale = range / most * (1 + 1.0f / 128);
        EXPECT_LE(std::abs(out[i] - in[i]), 0.5001f * scale + 1e-6f * std::abs(in[i])) << i;
      }
    };
    check(keys, got.keys);
    check(values, got.values);
  }
}

// A group of one value is that value, whatever it is, to the precision of a bias and 255 codes.
TEST(KvSegment, EqualElementsStayEqual) {
  for (const KvBits bits : {KvBits::k8}) {
    for (const float v : {0.0f, -0.0f, 1.0f, -1.25f, 0.3f, -77.7f, 1e-42f, -1e-39f, 3e38f}) {
      CpuSegment s(nullptr, {1, 1, 96, bits}, 1);
      s.extend(1);
      const std::vector<float> row(96, v);
      s.store(0, 0, 0, row.data(), row.data());
      const Stored got = stored(s, 0, 0);
      for (int i = 0; i < 96; ++i) {
        EXPECT_NEAR(got.keys[i], v, std::abs(v) * 1e-4 + 1e-38) << i;
        EXPECT_EQ(got.keys[i], got.keys[0]);
        EXPECT_EQ(got.values[i], got.keys[0]);
      }
    }
  }
}

// Codes are those of the range cut into 2^bits - 1 steps; by hand.
TEST(KvSegment, CodesByHand) {
  CpuSegment s(nullptr, {1, 1, 4, KvBits::k4}, 1);
  s.extend(1);
  float key[] = {-1, 0.375f, 0.625f, 14}, value[] = {2, 2.25f, 4, 17};
  rotate_head(key, 4);  // what is kept is rotated again: these
  rotate_head(value, 4);
  s.store(0, 0, 0, key, value);
  const Stored got = stored(s, 0, 0);
  EXPECT_EQ(got.keys, (std::vector<float>{-1, 0, 1, 14}));
  EXPECT_EQ(got.values, (std::vector<float>{2, 2, 4, 17}));
}

// Lengths and products stay, twice is nothing, and one large element is spread.
TEST(KvSegment, RotationIsOrthonormal) {
  Random random(8);
  for (const std::int64_t dim : {1, 2, 7, 64, 80, 100, 128, 129}) {
    std::vector<float> a(static_cast<std::size_t>(dim)), b = a;
    for (float& x : a) x = static_cast<float>(random.gaussian());
    for (float& x : b) x = static_cast<float>(random.gaussian());
    std::vector<float> ra = a, rb = b;
    rotate_head(ra.data(), dim);
    rotate_head(rb.data(), dim);
    double product = 0, rotated = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      product += static_cast<double>(a[i]) * static_cast<double>(b[i]);
      rotated += static_cast<double>(ra[i]) * static_cast<double>(rb[i]);
    }
    EXPECT_NEAR(rotated, product, 1e-5 * static_cast<double>(dim));
    rotate_head(ra.data(), dim);
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(ra[i], a[i], 1e-5);
  }
  std::vector<float> spike(64, 0.0f);
  spike[5] = 8;
  rotate_head(spike.data(), 64);
  for (const float x : spike) EXPECT_EQ(std::abs(x), 1.0f);
}

TEST(KvSegment, WhatIsNoNumberIsNotHidden) {
  for (const KvBits bits : {KvBits::k32, KvBits::k16, KvBits::k8, KvBits::k4}) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      CpuSegment s(nullptr, {1, 1, 4, bits}, 1);
      s.extend(1);
      const float key[] = {1, bad, 3, 4}, value[] = {bad, 0, 0, 0};
      s.store(0, 0, 0, key, value);
      const Stored got = stored(s, 0, 0);
      EXPECT_FALSE(std::isfinite(got.keys[1]));
      EXPECT_FALSE(std::isfinite(got.values[0]));
    }
  }
}

TEST(KvSegment, FewerBitsTakeLessMemory) {
  const auto bytes = [](KvBits bits) {
    CpuSegment s(nullptr, {2, 3, 64, bits}, 100);
    s.extend(40);
    return s.reserved_bytes();
  };
  EXPECT_EQ(bytes(KvBits::k32), 2 * 2 * 3 * 48 * 64 * 4);
  EXPECT_EQ(bytes(KvBits::k16), 2 * 2 * 3 * 48 * 64 * 2);
  EXPECT_EQ(bytes(KvBits::k8), 2 * 2 * 3 * 48 * (64 + 4));
  EXPECT_EQ(bytes(KvBits::k4), 2 * 2 * 3 * 48 * (32 + 4));
}

// Positions that come one by one cost no copy each.
TEST(KvSegment, MemoryDoubles) {
  CpuSegment s(nullptr, kShape, 1000);
  std::vector<std::int64_t> sizes;
  for (int i = 0; i < 1000; ++i) {
    s.extend(1);
    if (sizes.empty() || s.reserved_bytes() != sizes.back()) sizes.push_back(s.reserved_bytes());
  }
  const std::int64_t block = sizes.front();
  EXPECT_EQ(sizes, (std::vector<std::int64_t>{block, 2 * block, 4 * block, 8 * block, 16 * block,
                                              32 * block, 63 * block}));
}

// What a plan and a server reckon with is what a segment takes.
TEST(KvSegment, MemoryIsWhatMemoryNeedsSays) {
  for (const std::int64_t dim : {5, 32, 64, 80, 128}) {
    ModelConfig config;
    config.num_hidden_layers = 2;
    config.num_key_value_heads = 3;
    config.head_dim = dim;
    for (const KvBits bits : {KvBits::k32, KvBits::k16, KvBits::k8, KvBits::k4}) {
      CpuSegment s(nullptr, {2, 3, dim, bits}, 48);
      s.extend(48);
      EXPECT_EQ(s.reserved_bytes(), memory_needs(config, 0, 48, static_cast<int>(bits)).cache)
          << dim << ", " << static_cast<int>(bits);
    }
  }
}

// Rows taken out and put into another segment, at another place of a block, read the same; and a
// packed row holds its codes from the lowest bit on.
TEST(KvSegment, RowsGoOutAndInAgain) {
  Random random(5);
  for (const std::int64_t dim : {7, 34, 64, 100}) {
    for (const KvBits bits : {KvBits::k32, KvBits::k16, KvBits::k8, KvBits::k4}) {
      const KvShape shape{1, 2, dim, bits};
      constexpr std::int64_t kCount = 37, kShift = 5;
      CpuSegment from(nullptr, shape, kCount), to(nullptr, shape, kCount + kShift);
      from.extend(kCount);
      to.extend(kCount + kShift);
      std::vector<float> row(static_cast<std::size_t>(dim), 0.5f);
      for (std::int64_t h = 0; h < 2; ++h) {
        for (std::int64_t p = 0; p < kCount + kShift; ++p) {
          to.store(0, h, p, row.data(), row.data());
        }
        for (std::int64_t p = 0; p < kCount; ++p) {
          std::vector<float> key(row.size()), value(row.size());
          for (float& x : key) x = static_cast<float>(random.gaussian());
          for (float& x : value) x = static_cast<float>(random.gaussian());
          from.store(0, h, p, key.data(), value.data());
        }
      }
      const std::int64_t bytes = kv_element_row_bytes(shape), groups = kv_groups(shape);
      std::vector<float> elements(static_cast<std::size_t>(kCount * bytes / 4 + 1));
      std::vector<std::uint16_t> scales(static_cast<std::size_t>(kCount * groups)), biases = scales;
      auto* raw = reinterpret_cast<std::byte*>(elements.data());
      for (std::int64_t h = 0; h < 2; ++h) {
        for (const bool values : {false, true}) {
          from.copy_rows(0, h, values, 0, kCount, {raw, scales.data(), biases.data()});
          to.set_rows(0, h, values, kShift, kCount, {raw, scales.data(), biases.data()});
          if (bits == KvBits::k4) {
            const Stored got = stored(from, 0, h);
            for (std::int64_t i = 0; i < kCount * dim; ++i) {
              const std::int64_t p = i / dim, d = i % dim, g = p * groups + d / 64;
              const auto byte = std::to_integer<int>(raw[p * bytes + d / 2]);
              const int code = d % 2 == 0 ? byte & 15 : byte >> 4;
              EXPECT_EQ(std::fma(bf16_to_f32(scales[g]), static_cast<float>(code),
                                 bf16_to_f32(biases[g])),
                        values ? got.values[i] : got.keys[i]);
            }
          }
        }
        const Stored a = stored(from, 0, h), b = stored(to, 0, h);
        const auto tail = [&](const std::vector<float>& all) {
          return std::vector<float>(all.begin() + kShift * dim, all.end());
        };
        EXPECT_EQ(a.keys, tail(b.keys));
        EXPECT_EQ(a.values, tail(b.values));
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
