// The affine codec: golden words of MLX, a reference written from the definition, and every
// instruction set against the scalar code, bit for bit.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/half.h"
#include "base/random.h"
#include "kernels/api.h"

namespace qx {
namespace {

constexpr std::array kBits = {2, 3, 4, 5, 6, 8};
constexpr std::array kGroups = {32, 64, 128};
constexpr std::array kScaleKinds = {ScaleKind::kBF16, ScaleKind::kF16, ScaleKind::kF32};

std::size_t scale_bytes(ScaleKind kind) {
  return kind == ScaleKind::kF32 ? 4 : 2;
}

float round_to(ScaleKind kind, float x) {
  if (kind == ScaleKind::kBF16) return bf16_to_f32(f32_to_bf16(x));
  if (kind == ScaleKind::kF16) return f16_to_f32(f32_to_f16(x));
  return x;
}

struct Encoded {
  std::vector<std::byte> codes, scales, biases;
  bool finite = true;
  bool operator==(const Encoded&) const = default;
};

constexpr auto kGuard = std::byte{0xA5};

// Every buffer starts at an odd address and is followed by a guard byte, so that a store that is too
// wide shows.
Encoded encode(const KernelTable& table, const std::vector<float>& row, int bits, int group,
               bool gpu, ScaleKind kind) {
  const std::size_t groups = row.size() / group;
  const std::array sizes = {row.size() / 8 * bits, groups * scale_bytes(kind),
                            groups * scale_bytes(kind)};
  std::array<std::vector<std::byte>, 3> buffers;
  for (std::size_t i = 0; i < 3; ++i) buffers[i].assign(sizes[i] + 2, kGuard);
  std::vector<float> shifted(row.size() + 1);
  std::copy(row.begin(), row.end(), shifted.begin() + 1);
  Encoded out;
  out.finite = table.affine_encode_row(shifted.data() + 1, static_cast<std::int64_t>(row.size()),
                                       bits, group, gpu, kind, buffers[0].data() + 1,
                                       buffers[1].data() + 1, buffers[2].data() + 1);
  for (const auto& b : buffers) EXPECT_TRUE(b.front() == kGuard && b.back() == kGuard);
  if (!out.finite) return out;
  out.codes.assign(buffers[0].begin() + 1, buffers[0].end() - 1);
  out.scales.assign(buffers[1].begin() + 1, buffers[1].end() - 1);
  out.biases.assign(buffers[2].begin() + 1, buffers[2].end() - 1);
  return out;
}

float scale_at(const std::vector<std::byte>& scales, ScaleKind kind, std::size_t g) {
  if (kind == ScaleKind::kF32) {
    float f;
    std::memcpy(&f, scales.data() + 4 * g, 4);
    return f;
  }
  std::uint16_t h;
  std::memcpy(&h, scales.data() + 2 * g, 2);
  return kind == ScaleKind::kBF16 ? bf16_to_f32(h) : f16_to_f32(h);
}

// The bit stream's definition, bit by bit.
unsigned code_at(const std::vector<std::byte>& codes, int bits, std::size_t i) {
  unsigned code = 0;
  for (int k = 0; k < bits; ++k) {
    const std::size_t p = i * bits + k;
    code |= (std::to_integer<unsigned>(codes[p >> 3]) >> (p & 7) & 1u) << k;
  }
  return code;
}

WeightRows view(const Encoded& e, int bits, int group, ScaleKind kind, std::int64_t rows,
                std::int64_t cols) {
  return {.kind = WeightKind::kAffine,
          .scale_kind = kind,
          .bits = bits,
          .group = group,
          .rows = rows,
          .cols = cols,
          .values = e.codes.data(),
          .scales = e.scales.data(),
          .biases = e.biases.data()};
}

struct Family {
  std::string name;
  std::vector<float> values;
};

// Rows of data that reach the corners of the encoder, as values of the scale's type.
std::vector<Family> families(ScaleKind kind, std::size_t n, std::uint64_t seed) {
  Random random(seed);
  const float largest = kind == ScaleKind::kF16    ? 65504.0f
                        : kind == ScaleKind::kBF16 ? 0x1.FEp127f
                                                   : std::numeric_limits<float>::max();
  const float smallest = kind == ScaleKind::kF16    ? 0x1p-24f
                         : kind == ScaleKind::kBF16 ? 0x1p-133f
                                                    : 0x1p-149f;
  std::vector<Family> out;
  const auto add = [&](const std::string& name, auto&& draw) {
    Family f{name, std::vector<float>(n)};
    for (std::size_t i = 0; i < n; ++i) f.values[i] = round_to(kind, static_cast<float>(draw(i)));
    out.push_back(std::move(f));
  };
  const auto sign = [&] { return random.below(2) == 0 ? -1.0 : 1.0; };
  add("gaussian", [&](std::size_t) { return 0.02 * random.gaussian(); });
  add("wide gaussian", [&](std::size_t) { return 100.0 * random.gaussian(); });
  add("uniform", [&](std::size_t) { return random.uniform() - 0.5; });
  add("zero", [](std::size_t) { return 0.0; });
  add("negative zero", [](std::size_t) { return -0.0; });
  add("mixed zeros", [](std::size_t i) { return i % 3 == 0 ? -0.0 : 0.0; });
  add("constant", [](std::size_t) { return 0.37; });
  add("negative constant", [](std::size_t) { return -1.25; });
  add("all positive", [&](std::size_t) { return 1.0 + random.uniform(); });
  add("all negative", [&](std::size_t) { return -0.01 - random.uniform(); });
  add("two values", [&](std::size_t) { return 0.5 * sign(); });
  add("outlier", [&](std::size_t i) { return i % 32 == 17 ? 60.0 : 0.01 * random.gaussian(); });
  add("negative outlier",
      [&](std::size_t i) { return i % 64 == 3 ? -60.0 : 0.01 * random.gaussian(); });
  add("integers", [&](std::size_t) { return static_cast<double>(random.below(64)) - 31.0; });
  add("halves", [&](std::size_t) { return 0.5 * static_cast<double>(random.below(31)) - 7.5; });
  add("denormals", [&](std::size_t) { return sign() * smallest * double(random.below(9)); });
  add("near epsilon", [&](std::size_t) { return 3e-7 * (random.uniform() - 0.5); });
  add("below epsilon", [&](std::size_t) { return 6e-8 * sign(); });
  add("half epsilon", [&](std::size_t i) { return i % 32 == 5 ? -5e-8 : 0.0; });
  add("near largest", [&](std::size_t) { return largest * (0.9 + 0.1 * random.uniform()); });
  add("largest of both signs", [&](std::size_t) { return sign() * largest; });
  add("constant largest", [&](std::size_t) { return largest; });
  add("one nonzero", [](std::size_t i) { return i % 32 == 31 ? -0.125 : 0.0; });
  add("any magnitude", [&](std::size_t) {
    return sign() * std::ldexp(1.0 + random.uniform(), static_cast<int>(random.below(28)) - 14);
  });
  add("any bits", [&](std::size_t) {
    const float f = std::bit_cast<float>(static_cast<std::uint32_t>(random.next()));
    return std::isfinite(round_to(kind, f)) ? f : 1.0f;
  });
  return out;
}

std::vector<float> golden_row() {
  std::vector<float> row(32);
  for (int i = 0; i < 32; ++i) row[i] = static_cast<float>(i - 16);
  return row;
}

// Words and parameters that mx.quantize gave for [-16 .. 15] in float32, group 32.
TEST(Codec, GoldenWords) {
  struct Golden {
    int bits;
    float scale;
    std::vector<std::uint32_t> words;
  };
  const std::vector<Golden> goldens = {
      {2, 8.0f, {0xaa555400, 0xfffffeaa}},
      {3, 4.0f, {0x92489200, 0xdb2491b6, 0xffffb6da}},
      {4, 2.0f, {0x43222100, 0x87666544, 0xcbaaa988, 0xffeeedcc}},
      {5, 1.0f, {0x8a418820, 0xc5a92839, 0xca307b9a, 0x38bdab49, 0xffbbcdeb}},
      {6, 0.484848499f, {0x88184080, 0x54d038c2, 0x7dd6d95d, 0xe99e58e1, 0x6d32beda, 0xffef3ae3}},
      {8,
       0.121212125f,
       {0x19100800, 0x3a322921, 0x5b524a42, 0x7c746b63, 0x9d948c84, 0xbeb6ada5, 0xdfd6cec6,
        0xfff8efe7}},
  };
  for (int t = 0; t < available_kernels().count; ++t) {
    const KernelTable& table = *available_kernels().tables[t];
    for (const Golden& g : goldens) {
      const Encoded e = encode(table, golden_row(), g.bits, 32, false, ScaleKind::kF32);
      ASSERT_EQ(e.codes.size(), g.words.size() * 4);
      EXPECT_EQ(std::memcmp(e.codes.data(), g.words.data(), e.codes.size()), 0)
          << table.name << " " << g.bits;
      EXPECT_EQ(scale_at(e.scales, ScaleKind::kF32, 0), g.scale) << table.name << " " << g.bits;
      EXPECT_EQ(scale_at(e.biases, ScaleKind::kF32, 0), -16.0f);
    }
  }
}

TEST(Codec, AllZeroGroupKeepsTheSmallestScale) {
  const std::vector<float> zeros(64, 0.0f);
  for (int t = 0; t < available_kernels().count; ++t) {
    for (const auto& [kind, expected] :
         {std::pair{ScaleKind::kBF16, 0xB3D7}, {ScaleKind::kF16, 0x8002}}) {
      const Encoded e = encode(*available_kernels().tables[t], zeros, 4, 64, false, kind);
      std::uint16_t scale, bias;
      std::memcpy(&scale, e.scales.data(), 2);
      std::memcpy(&bias, e.biases.data(), 2);
      EXPECT_EQ(scale, expected);
      EXPECT_EQ(bias, 0);
      for (const std::byte b : e.codes) EXPECT_EQ(b, std::byte{0});
    }
  }
}

// The two profiles on one group by hand: steps of 1 with ties at .5.
TEST(Codec, ProfilesDifferOnTiesAndOnAllNegativeGroups) {
  std::vector<float> row(32, 0.0f);
  row[0] = -3.0f;  // 2 bits: scale 1, bias -3
  row[1] = -2.5f;  // 0.5 steps: even 0, away from zero 1
  row[2] = -0.5f;  // 2.5 steps: 2 or 3
  row[3] = -1.5f;  // 1.5 steps: 2 either way
  for (int t = 0; t < available_kernels().count; ++t) {
    const KernelTable& table = *available_kernels().tables[t];
    const Encoded cpu = encode(table, row, 2, 32, false, ScaleKind::kF32);
    const Encoded gpu = encode(table, row, 2, 32, true, ScaleKind::kF32);
    EXPECT_EQ(scale_at(cpu.scales, ScaleKind::kF32, 0), 1.0f);
    EXPECT_EQ(scale_at(gpu.scales, ScaleKind::kF32, 0), 1.0f);
    EXPECT_EQ(code_at(cpu.codes, 2, 1), 0u);
    EXPECT_EQ(code_at(gpu.codes, 2, 1), 1u);
    EXPECT_EQ(code_at(cpu.codes, 2, 2), 2u);
    EXPECT_EQ(code_at(gpu.codes, 2, 2), 3u);
    EXPECT_EQ(code_at(cpu.codes, 2, 3), 2u);
    EXPECT_EQ(code_at(gpu.codes, 2, 3), 2u);

    // All negative: the GPU's maximum starts at 0, so that its range is 4 instead of 3.
    std::vector<float> negative(32, -1.0f);
    negative[7] = -4.0f;
    const Encoded c = encode(table, negative, 2, 32, false, ScaleKind::kF32);
    const Encoded g = encode(table, negative, 2, 32, true, ScaleKind::kF32);
    EXPECT_EQ(scale_at(c.scales, ScaleKind::kF32, 0), 1.0f);
    EXPECT_EQ(scale_at(g.scales, ScaleKind::kF32, 0), -4.0f / -3.0f);
  }
}

TEST(Codec, NotFiniteIsRefusedWhereverItStands) {
  const float inf = std::numeric_limits<float>::infinity();
  const float bad[] = {inf, -inf, std::numeric_limits<float>::quiet_NaN(),
                       -std::numeric_limits<float>::quiet_NaN()};
  for (int t = 0; t < available_kernels().count; ++t) {
    for (const int group : kGroups) {
      for (std::size_t i = 0; i < 2688; i += 5) {
        std::vector<float> row(2688, 0.5f);
        row[i] = bad[i % 4];
        EXPECT_FALSE(
            encode(*available_kernels().tables[t], row, 3, group, i % 2 == 0, ScaleKind::kBF16)
                .finite);
      }
    }
  }
}

TEST(Codec, EveryTableEncodesTheSameBits) {
  const KernelTable& scalar = *available_kernels().tables[0];
  for (const ScaleKind kind : kScaleKinds) {
    for (const Family& f : families(kind, 128 * 5, 7 + static_cast<int>(kind))) {
      for (const int bits : kBits) {
        for (const int group : kGroups) {
          for (const bool gpu : {false, true}) {
            const Encoded expected = encode(scalar, f.values, bits, group, gpu, kind);
            ASSERT_TRUE(expected.finite) << f.name;
            for (int t = 1; t < available_kernels().count; ++t) {
              const KernelTable& table = *available_kernels().tables[t];
              EXPECT_EQ(encode(table, f.values, bits, group, gpu, kind), expected)
                  << table.name << ": " << f.name << ", " << bits << " bits, group " << group
                  << (gpu ? ", gpu" : ", cpu") << ", type " << static_cast<int>(kind);
            }
          }
        }
      }
    }
  }
}

// Encoders may take several groups at a time: every number of groups, each group of another kind of data,
// so that what one group needs does not leak into its neighbours.
TEST(Codec, EveryTableEncodesAnyNumberOfUnlikeGroups) {
  const KernelTable& scalar = *available_kernels().tables[0];
  for (const ScaleKind kind : kScaleKinds) {
    const std::vector<Family> all = families(kind, 128 * 41, 21 + static_cast<int>(kind));
    for (const int group : kGroups) {
      for (std::size_t groups = 1; groups <= 41; ++groups) {
        std::vector<float> row(groups * group);
        for (std::size_t i = 0; i < row.size(); ++i) {
          row[i] = all[(i / group * 7 + groups) % all.size()].values[i];
        }
        const int bits = kBits[groups % kBits.size()];
        for (const bool gpu : {false, true}) {
          const Encoded expected = encode(scalar, row, bits, group, gpu, kind);
          for (int t = 1; t < available_kernels().count; ++t) {
            const KernelTable& table = *available_kernels().tables[t];
            EXPECT_EQ(encode(table, row, bits, group, gpu, kind), expected)
                << table.name << ": " << groups << " groups of " << group << ", " << bits << " bits"
                << (gpu ? ", gpu" : ", cpu") << ", type " << static_cast<int>(kind);
          }
        }
      }
    }
  }
}

// Every mantissa of a bf16 edge with every bf16 value up to five octaves below it, where quotients are
// exact halves most often: rounding and division have to be exact.
TEST(Codec, EveryTableRoundsEveryPairOfMantissas) {
  const KernelTable& scalar = *available_kernels().tables[0];
  std::vector<float> row;
  for (std::uint32_t edge = 0; edge < 128; ++edge) {
    row.clear();
    for (std::uint32_t below = 0; below < 5 * 128 + edge;) {
      const std::uint32_t largest = 0x3F80u + edge;
      row.push_back(std::bit_cast<float>((edge % 2 << 31) | largest << 16));
      row.push_back(0.0f);
      for (int i = 2; i < 32; ++i, ++below) {
        row.push_back(std::bit_cast<float>((below % 3 == 0 ? 0x80000000u : 0u) |
                                           (largest - std::min(below, largest)) << 16));
      }
    }
    for (const int bits : kBits) {
      for (const bool gpu : {false, true}) {
        const Encoded expected = encode(scalar, row, bits, 32, gpu, ScaleKind::kBF16);
        for (int t = 1; t < available_kernels().count; ++t) {
          const KernelTable& table = *available_kernels().tables[t];
          ASSERT_EQ(encode(table, row, bits, 32, gpu, ScaleKind::kBF16), expected)
              << table.name << ": edge " << edge << ", " << bits << " bits"
              << (gpu ? ", gpu" : ", cpu");
        }
      }
    }
  }
}

// What every encoding must satisfy: code 0 is the value of larger magnitude, exactly, and no value is
// off by more than half a step (plus the rounding of scale and bias to T).
TEST(Codec, ErrorIsAtMostHalfAStep) {
  const KernelTable& scalar = *available_kernels().tables[0];
  for (const Family& f : families(ScaleKind::kF32, 640, 3)) {
    if (f.name == "gaussian" || f.name == "uniform" || f.name == "all negative" ||
        f.name == "outlier") {
      for (const int bits : kBits) {
        const Encoded e = encode(scalar, f.values, bits, 64, false, ScaleKind::kF32);
        for (std::size_t i = 0; i < f.values.size(); ++i) {
          const double scale = scale_at(e.scales, ScaleKind::kF32, i / 64);
          const double value =
              scale * code_at(e.codes, bits, i) + scale_at(e.biases, ScaleKind::kF32, i / 64);
          // Snapping the edge to a whole code stretches a step, at most by half a step over the
          // whole range: the far end may be off by that much more.
          EXPECT_LE(std::fabs(value - f.values[i]), 1.001 * std::fabs(scale))
              << f.name << " " << bits << " " << i;
        }
      }
    }
  }
}

TEST(Codec, EveryTableDecodesAsTheBitStreamSays) {
  constexpr std::int64_t kRows = 3, kCols = 128 * 3;
  Random random(11);
  for (const ScaleKind kind : kScaleKinds) {
    for (const int bits : kBits) {
      for (const int group : kGroups) {
        Encoded e;
        e.codes.resize(kRows * kCols / 8 * bits);
        for (std::byte& b : e.codes) b = static_cast<std::byte>(random.next() & 0xFF);
        for (std::int64_t g = 0; g < kRows * kCols / group; ++g) {
          for (auto* part : {&e.scales, &e.biases}) {
            const auto v = static_cast<float>(random.gaussian() * (g % 4 == 0 ? 1e-6 : 1.0));
            const std::uint16_t h = kind == ScaleKind::kBF16 ? f32_to_bf16(v) : f32_to_f16(v);
            const auto* bytes = kind == ScaleKind::kF32 ? reinterpret_cast<const std::byte*>(&v)
                                                        : reinterpret_cast<const std::byte*>(&h);
            part->insert(part->end(), bytes, bytes + scale_bytes(kind));
          }
        }
        const WeightRows w = view(e, bits, group, kind, kRows, kCols);
        for (int t = 0; t < available_kernels().count; ++t) {
          const KernelTable& table = *available_kernels().tables[t];
          for (std::int64_t row = 0; row < kRows; ++row) {
            for (const auto& [begin, n] : {std::pair{0, 384}, {32, 32}, {96, 288}, {352, 32}}) {
              std::vector<float> out(n);
              table.decode_row(w, row, begin, n, out.data());
              for (std::int64_t i = 0; i < n; ++i) {
                const std::size_t index = row * kCols + begin + i;
                const float expected = std::fma(scale_at(e.scales, kind, index / group),
                                                static_cast<float>(code_at(e.codes, bits, index)),
                                                scale_at(e.biases, kind, index / group));
                ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]),
                          std::bit_cast<std::uint32_t>(expected))
                    << table.name << " " << bits << " bits, group " << group << ", element "
                    << index;
              }
            }
          }
        }
      }
    }
  }
}

// The buffers end exactly where the last row does (a sanitizer sees a longer read), at odd addresses.
TEST(Codec, DecodeStaysInsideTheLastRow) {
  for (const int bits : kBits) {
    const std::vector<float> values(32, 0.25f);
    const Encoded e =
        encode(*available_kernels().tables[0], values, bits, 32, false, ScaleKind::kBF16);
    const auto codes = std::make_unique<std::byte[]>(e.codes.size() + 1);
    std::memcpy(codes.get() + 1, e.codes.data(), e.codes.size());
    WeightRows w = view(e, bits, 32, ScaleKind::kBF16, 1, 32);
    w.values = codes.get() + 1;
    for (int t = 0; t < available_kernels().count; ++t) {
      std::vector<float> out(33, -7.0f);
      available_kernels().tables[t]->decode_row(w, 0, 0, 32, out.data());
      for (int i = 0; i < 32; ++i) EXPECT_EQ(out[i], 0.25f);
      EXPECT_EQ(out[32], -7.0f);
    }
  }
}

TEST(Codec, FloatRowsWidenExactly) {
  Random random(5);
  constexpr std::int64_t kCols = 77;  // every remainder of 8 and 16 below
  std::vector<std::uint16_t> halves(2 * kCols);
  std::vector<float> floats(2 * kCols);
  for (auto& h : halves) {
    h = static_cast<std::uint16_t>(random.next());
    if ((h & 0x7C00) == 0x7C00) h &= 0x83FF;  // no NaN in f16; some subnormals instead
    if ((h & 0x7F80) == 0x7F80) h &= 0x807F;  // nor in bf16
  }
  for (auto& f : floats) f = static_cast<float>(random.gaussian());
  for (int t = 0; t < available_kernels().count; ++t) {
    const KernelTable& table = *available_kernels().tables[t];
    for (const WeightKind kind : {WeightKind::kF32, WeightKind::kF16, WeightKind::kBF16}) {
      WeightRows w{.kind = kind, .rows = 2, .cols = kCols};
      w.values = kind == WeightKind::kF32 ? reinterpret_cast<const std::byte*>(floats.data())
                                          : reinterpret_cast<const std::byte*>(halves.data());
      for (std::int64_t begin = 0; begin < kCols; begin += 9) {
        const std::int64_t n = kCols - begin;
        std::vector<float> out(n + 1, -7.0f);
        table.decode_row(w, 1, begin, n, out.data());
        EXPECT_EQ(out[n], -7.0f);
        for (std::int64_t i = 0; i < n; ++i) {
          const std::size_t at = kCols + begin + i;
          const float expected = kind == WeightKind::kF32   ? floats[at]
                                 : kind == WeightKind::kF16 ? f16_to_f32(halves[at])
                                                            : bf16_to_f32(halves[at]);
          ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), std::bit_cast<std::uint32_t>(expected))
              << table.name;
        }
      }
    }
  }
}

}  // namespace
}  // namespace qx
