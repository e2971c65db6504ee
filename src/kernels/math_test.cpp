// The choice of a table, and every kernel but linear() and the codec: each table against double
// precision and, bit for bit, against the scalar table. Inputs and outputs end at a page that may
// not be touched.
// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/half.h"
#include "kernels/ref.h"
#include "kernels/test_support.h"

namespace qx {
namespace {

const float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

const KernelTable& scalar() {
  return *available_kernels().tables[0];
}

// Runs the body for every table (named in failures), scalar first.
template <class Body>
void for_each_table(Body body) {
  for (const KernelTable* table : all_tables()) {
    SCOPED_TRACE(table->name);
    body(*table);
  }
}

// --- choice of a table -----------------------------------------------------------------

TEST(Table, EnvironmentOrFastest) {
  const char* wanted = std::getenv("QX_ISA");
  EXPECT_STREQ(kernels().name, wanted != nullptr ? wanted : all_tables().back()->name);
}

TEST(Table, SelectByName) {
  const std::string before = kernels().name;
  EXPECT_TRUE(select_kernels("scalar"));
  EXPECT_STREQ(kernels().name, "scalar");
  EXPECT_FALSE(select_kernels("altivec"));
  EXPECT_STREQ(kernels().name, "scalar");
  EXPECT_TRUE(select_kernels(before.c_str()));
}

TEST(TableDeathTest, UnknownNameInTheEnvironment) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto start = [] {
    setenv("QX_ISA", "altivec", 1);
    try {
      kernels();
    } catch (const Error& error) {
      std::fputs(error.what(), stderr);
      std::_Exit(3);
    }
    std::_Exit(0);
  };
  EXPECT_EXIT(start(), ::testing::ExitedWithCode(3), "QX_ISA.*got \"altivec\", expected.*scalar");
}

// --- exp -------------------------------------------------------------------------------

// exp(x) of a table: softmax over {x .., 0} has maximum 0 for x <= 0, so it gives exp(x).
std::vector<float> exp_of(const KernelTable& table, std::vector<float> x) {
  x.push_back(0.0f);
  table.softmax_unnormalized(x.data(), static_cast<std::int64_t>(x.size()));
  x.pop_back();
  return x;
}

TEST(Exp, WithinOneUlpOfDouble) {
  // Every 4093rd float32 between the smallest normal and the lowest argument.
  std::vector<float> x;
  for (std::uint32_t u = 0x00800000u; u < 0x42AEAC50u; u += 4093) {
    x.push_back(-std::bit_cast<float>(u));
  }
  std::vector<float> expected;
  for_each_table([&](const KernelTable& table) {
    const std::vector<float> y = exp_of(table, x);
    if (expected.empty()) expected = y;
    EXPECT_TRUE(same_bits(y, expected));
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double truth = std::exp(static_cast<double>(x[i]));
      const double ulp = std::ldexp(1.0, std::ilogb(truth) - 23);
      worst = std::max(worst, std::abs(y[i] - truth) / ulp);
    }
    EXPECT_LT(worst, 1.01);
    EXPECT_GT(worst, 0.5) << "too good to be a float32 polynomial";
  });
}

TEST(Exp, Limits) {
  for_each_table([](const KernelTable& table) {
    const std::vector<float> y =
        exp_of(table, {-kInf, -1e30f, -104.0f, -87.34f, -87.33654f, -0.0f, 0.0f, -1e-30f});
    const std::vector<float> zeros(4, 0.0f);
    EXPECT_TRUE(same_bits(std::span(y).first(4), zeros));
    EXPECT_GE(y[4], std::numeric_limits<float>::min()) << "no subnormal results";
    EXPECT_LT(y[4], 1.18e-38f);
    for (int i = 5; i < 8; ++i) EXPECT_EQ(y[i], 1.0f);
    // Through silu: x / (1 + exp(-x)) is -0 at the far left, x at the far right.
    std::vector<float> gate = {-1000.0f, -89.0f, 1000.0f, -kInf, kInf, kNan};
    const std::vector<float> up(gate.size(), 1.0f);
    table.swiglu(gate.data(), up.data(), static_cast<std::int64_t>(gate.size()));
    EXPECT_TRUE(same_bits(gate, std::vector<float>{-0.0f, -0.0f, 1000.0f, kNan, kInf, kNan}));
  });
}

// --- elementwise -----------------------------------------------------------------------

TEST(Math, RmsNorm) {
  Random random(1);
  for (const std::int64_t n : kSizes) {
    const Floats x = guarded(gaussians(random, n, 3.0)), weight = guarded(gaussians(random, n));
    const std::vector<double> truth = ref_rms_norm(x.data(), weight.data(), n, 1e-5f);
    Floats expected(n);
    scalar().rms_norm(x.data(), weight.data(), n, 1e-5f, expected.data());
    for_each_table([&](const KernelTable& table) {
      Floats out(n);
      table.rms_norm(x.data(), weight.data(), n, 1e-5f, out.data());
      EXPECT_TRUE(same_bits(out.span(), expected.span())) << n;
      EXPECT_TRUE(out.front_intact());
      for (std::int64_t i = 0; i < n; ++i) {
        // Half the relative error of the sum of squares, and six roundings after it.
        EXPECT_NEAR(out[i], truth[i],
                    (dot_tolerance(n, 0.5) + 6 * kUnitRoundoff) * std::abs(truth[i]));
      }
      Floats aliased = guarded(x.span());
      table.rms_norm(aliased.data(), weight.data(), n, 1e-5f, aliased.data());
      EXPECT_TRUE(same_bits(aliased.span(), expected.span())) << n;
    });
  }
}

TEST(Math, Rope) {
  Random random(2);
  for (const std::int64_t half : kSizes) {
    const std::int64_t n = 2 * half;
    const std::vector<float> head = gaussians(random, n);
    Floats cosine(half), sine(half);
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = 6.28 * random.uniform();
      cosine[i] = static_cast<float>(std::cos(angle));
      sine[i] = static_cast<float>(std::sin(angle));
    }
    const std::vector<double> truth = ref_rope(head.data(), cosine.data(), sine.data(), n);
    std::vector<float> expected = head;
    scalar().rope(expected.data(), cosine.data(), sine.data(), n);
    for_each_table([&](const KernelTable& table) {
      Floats out = guarded(head);
      table.rope(out.data(), cosine.data(), sine.data(), n);
      EXPECT_TRUE(same_bits(out.span(), expected)) << n;
      EXPECT_TRUE(out.front_intact());
      for (std::int64_t i = 0; i < n; ++i) {
        const double magnitude = std::abs(head[i % half]) + std::abs(head[i % half + half]);
        EXPECT_NEAR(out[i], truth[i], 2 * kUnitRoundoff * magnitude);
      }
    });
  }
}

TEST(Math, SwigluAndAdd) {
  Random random(3);
  for (const std::int64_t n : kSizes) {
    const std::vector<float> gate = gaussians(random, n, 10.0);
    const Floats up = guarded(gaussians(random, n));
    const std::vector<double> truth = ref_swiglu(gate.data(), up.data(), n);
    std::vector<float> expected = gate;
    scalar().swiglu(expected.data(), up.data(), n);
    for_each_table([&](const KernelTable& table) {
      Floats out = guarded(gate);
      table.swiglu(out.data(), up.data(), n);
      EXPECT_TRUE(same_bits(out.span(), expected)) << n;
      EXPECT_TRUE(out.front_intact());
      for (std::int64_t i = 0; i < n; ++i) {
        // exp within 1.01 ulp (at most 2.02 unit roundoffs), then sum, quotient and product.
        EXPECT_NEAR(out[i], truth[i], 5.1 * kUnitRoundoff * std::abs(truth[i]));
      }
      Floats sum = guarded(gate);
      table.add(sum.data(), up.data(), n);
      EXPECT_TRUE(sum.front_intact());
      for (std::int64_t i = 0; i < n; ++i) EXPECT_EQ(sum[i], gate[i] + up.data()[i]);
    });
  }
}

// --- attention -------------------------------------------------------------------------

constexpr std::int64_t kHeadDims[] = {1,  2,  8,  15,  16,  17,  32,  33,
                                      64, 80, 96, 112, 128, 130, 200, 256};

// Query i sees the first counts[i] keys: all alike, rising as in a prompt, or in any order.
std::vector<std::vector<std::int64_t>> count_patterns(std::int64_t n, std::int64_t most) {
  std::vector<std::int64_t> alike(n, most), rising(n), wild(n);
  for (std::int64_t i = 0; i < n; ++i) {
    rising[i] = std::max<std::int64_t>(0, most - (n - 1 - i) / 2);
    wild[i] = (i * 37 + 11) % (most + 1);
  }
  return {alike, rising, wild};
}

// [keys][dim] -> blocks of 16 keys, transposed; lanes past the last key hold NaN.
Floats in_blocks(const std::vector<float>& keys, std::int64_t dim) {
  const std::int64_t count = static_cast<std::int64_t>(keys.size()) / dim;
  Floats blocks((count + 15) / 16 * 16 * dim);
  std::fill(blocks.data(), blocks.data() + blocks.size(), kNan);
  for (std::int64_t j = 0; j < count; ++j) {
    for (std::int64_t d = 0; d < dim; ++d) {
      blocks[(j / 16 * dim + d) * 16 + j % 16] = keys[j * dim + d];
    }
  }
  return blocks;
}

TEST(Attention, Scores) {
  Random random(4);
  for (const std::int64_t dim : kHeadDims) {
    for (const std::int64_t most : {1, 2, 15, 16, 17, 33, 64, 65, 131}) {
      for (const std::int64_t n : {1, 2, 3, 4, 5, 6, 7, 13}) {
        if (n * most * dim > 60'000) continue;
        const std::int64_t query_stride = dim + 1, stride = most + 3;
        const Floats queries = guarded(gaussians(random, (n - 1) * query_stride + dim));
        const std::vector<float> rows = gaussians(random, most * dim);
        const Floats keys = in_blocks(rows, dim);
        for (const auto& counts : count_patterns(n, most)) {
          std::vector<float> expected(n * stride);
          scalar().attention_scores(queries.data(), query_stride, n, keys.data(), counts.data(),
                                    dim, 0.1f, expected.data(), stride);
          for_each_table([&](const KernelTable& table) {
            Floats scores((n - 1) * stride + most);
            table.attention_scores(queries.data(), query_stride, n, keys.data(), counts.data(), dim,
                                   0.1f, scores.data(), stride);
            EXPECT_TRUE(scores.front_intact());
            for (std::int64_t i = 0; i < n; ++i) {
              const std::span<const float> got(scores.data() + i * stride, counts[i]);
              const std::span<const float> want(expected.data() + i * stride, counts[i]);
              EXPECT_TRUE(same_bits(got, want)) << dim << " x " << most << ", query " << i;
              for (std::int64_t j = 0; j < counts[i] && &table == &scalar(); ++j) {
                const RefSum dot =
                    ref_dot(queries.data() + i * query_stride, rows.data() + j * dim, dim);
                EXPECT_NEAR(got[j], static_cast<double>(0.1f) * dot.value,
                            0.1 * chain_tolerance(dim + 1, dot.magnitude));
              }
            }
          });
        }
      }
    }
  }
}

// A sequence that is cut into segments anywhere has its keys in other blocks and lanes.
TEST(Attention, ScoresDoNotDependOnTheLane) {
  Random random(9);
  constexpr std::int64_t kDim = 48, kCount = 70;
  const std::vector<float> rows = gaussians(random, kCount * kDim), query = gaussians(random, kDim);
  const Floats whole = in_blocks(rows, kDim);
  for_each_table([&](const KernelTable& table) {
    std::vector<float> expected(kCount), scores(kCount);
    const std::int64_t all = kCount;
    table.attention_scores(query.data(), kDim, 1, whole.data(), &all, kDim, 0.125f, expected.data(),
                           kCount);
    for (const std::int64_t cut : {1, 5, 16, 31, 69}) {
      const std::int64_t rest = kCount - cut;
      const Floats head = in_blocks({rows.begin(), rows.begin() + cut * kDim}, kDim);
      const Floats tail = in_blocks({rows.begin() + cut * kDim, rows.end()}, kDim);
      table.attention_scores(query.data(), kDim, 1, head.data(), &cut, kDim, 0.125f, scores.data(),
                             kCount);
      table.attention_scores(query.data(), kDim, 1, tail.data(), &rest, kDim, 0.125f,
                             scores.data() + cut, kCount);
      EXPECT_TRUE(same_bits(scores, expected)) << cut;
    }
  });
}

TEST(Attention, Softmax) {
  Random random(5);
  for (const std::int64_t n : kSizes) {
    const std::vector<float> scores = gaussians(random, n, 20.0);
    double truth_sum = 0;
    const std::vector<double> truth = ref_softmax(scores.data(), n, &truth_sum);
    std::vector<float> expected = scores;
    const float expected_sum = scalar().softmax_unnormalized(expected.data(), n);
    for_each_table([&](const KernelTable& table) {
      Floats out = guarded(scores);
      const float sum = table.softmax_unnormalized(out.data(), n);
      EXPECT_TRUE(same_bits(out.span(), expected)) << n;
      EXPECT_TRUE(same(sum, expected_sum)) << n;
      EXPECT_TRUE(out.front_intact());
      EXPECT_NEAR(sum, truth_sum, dot_tolerance(n, truth_sum) + 1e-5 * truth_sum);
      for (std::int64_t i = 0; i < n; ++i) {
        // The rounded difference to the maximum (at most 87) is off by up to 2^-18, so exp by
        // that factor.
        EXPECT_NEAR(out[i], truth[i], 0x1p-17 * truth[i] + 1.2e-38);
      }
    });
  }
  for_each_table([](const KernelTable& table) {
    float none = 1.0f;
    EXPECT_EQ(table.softmax_unnormalized(&none, 0), 0.0f);
    std::vector<float> with_nan(40, 1.0f);
    with_nan[33] = kNan;
    EXPECT_TRUE(std::isnan(table.softmax_unnormalized(with_nan.data(), 40)));
  });
}

TEST(Attention, Values) {
  Random random(6);
  for (const std::int64_t dim : kHeadDims) {
    for (const std::int64_t most : {1, 2, 9, 40, 64, 131}) {
      for (const std::int64_t n : {1, 2, 3, 4, 5, 6, 7, 13}) {
        if (n * most * dim > 60'000) continue;
        const std::int64_t value_stride = dim + 5, stride = most + 1, out_stride = dim + 2;
        const Floats probabilities = guarded(gaussians(random, (n - 1) * stride + most));
        const Floats values = guarded(gaussians(random, (most - 1) * value_stride + dim));
        const std::vector<float> start = gaussians(random, (n - 1) * out_stride + dim);
        for (const auto& counts : count_patterns(n, most)) {
          std::vector<float> expected = start;
          scalar().attention_values(probabilities.data(), stride, n, values.data(), value_stride,
                                    counts.data(), dim, expected.data(), out_stride);
          for (std::int64_t i = 0; i < n; ++i) {
            const std::vector<RefSum> truth =
                ref_attention_values(probabilities.data() + i * stride, values.data(), value_stride,
                                     counts[i], dim, start.data() + i * out_stride);
            for (std::int64_t d = 0; d < dim; ++d) {
              EXPECT_NEAR(expected[i * out_stride + d], truth[d].value,
                          chain_tolerance(counts[i], truth[d].magnitude));
            }
          }
          for_each_table([&](const KernelTable& table) {
            Floats out = guarded(start);
            table.attention_values(probabilities.data(), stride, n, values.data(), value_stride,
                                   counts.data(), dim, out.data(), out_stride);
            EXPECT_TRUE(same_bits(out.span(), expected)) << dim << " x " << most << " x " << n;
            EXPECT_TRUE(out.front_intact());
            // A sequence stored in two pieces gives the same bits.
            Floats pieces = guarded(start);
            const std::int64_t cut = most / 2;
            std::vector<std::int64_t> first = counts, second = counts;
            for (std::int64_t i = 0; i < n; ++i) {
              first[i] = std::min(counts[i], cut);
              second[i] = counts[i] - first[i];
            }
            table.attention_values(probabilities.data(), stride, n, values.data(), value_stride,
                                   first.data(), dim, pieces.data(), out_stride);
            table.attention_values(probabilities.data() + cut, stride, n,
                                   values.data() + cut * value_stride, value_stride, second.data(),
                                   dim, pieces.data(), out_stride);
            EXPECT_TRUE(same_bits(pieces.span(), expected)) << dim << " x " << most << " x " << n;
          });
        }
      }
    }
  }
}

// What a query does not see may hold anything, NaN too.
TEST(Attention, ValuesBeyondTheCountAreNotTouched) {
  const std::vector<std::int64_t> counts = {2, 3, 4, 5};
  std::vector<float> values(5 * 16, 1.0f), probabilities(4 * 5, 1.0f);
  std::fill(values.begin() + 2 * 16, values.end(), kNan);
  for_each_table([&](const KernelTable& table) {
    std::vector<float> out(4 * 16, 0.0f);
    table.attention_values(probabilities.data(), 5, 4, values.data(), 16, counts.data(), 16,
                           out.data(), 16);
    EXPECT_EQ(out[0], 2.0f);
    EXPECT_EQ(out[15], 2.0f);
    EXPECT_TRUE(std::isnan(out[16]));
  });
}

// The code of element d of value j, from the layout as api.h has it.
int value_code(const std::uint8_t* row, int bits, std::int64_t dim, std::int64_t d) {
  if (bits == 8) return row[d];
  const std::int64_t piece = d / 32 * 32, half = (std::min<std::int64_t>(32, dim - piece) + 1) / 2;
  const std::uint8_t* at = row + piece / 2;
  return d - piece < half ? at[d - piece] & 15 : at[d - piece - half] >> 4;
}

TEST(Attention, DecodeKeysAndValuesOfFewBits) {
  Random random(10);
  for (const std::int64_t dim : kHeadDims) {
    for (const std::int64_t group : {32, 64}) {
      for (const int bits : {8, 4}) {
        const std::int64_t groups = (dim + group - 1) / group, count = 16 * 2;
        const std::int64_t row = kv_row_bytes(dim, bits);
        GuardedBuffer<std::uint8_t> codes(static_cast<std::size_t>(count * row));
        for (std::size_t i = 0; i < codes.size(); ++i) {
          codes[i] = static_cast<std::uint8_t>(random.below(256));
        }
        GuardedBuffer<std::uint16_t> scales(static_cast<std::size_t>(count * groups * 2));
        for (std::size_t i = 0; i < scales.size(); ++i) {
          scales[i] = f32_to_bf16(static_cast<float>(random.gaussian()));
        }
        for_each_table([&](const KernelTable& table) {
          Floats keys(count * dim), values(count * dim);
          table.decode_keys(codes.data(), scales.data(), bits, count / 16, dim, group, keys.data());
          table.decode_values(codes.data(), scales.data(), bits, count, dim, group, values.data());
          EXPECT_TRUE(keys.front_intact() && values.front_intact());
          for (std::int64_t i = 0; i < count * dim; ++i) {
            const std::int64_t block = i / 16 / dim, d = i / 16 % dim, lane = i % 16;
            const std::uint8_t byte = codes[(block * row + (bits == 8 ? d : d / 2)) * 16 + lane];
            const int code = bits == 8 ? byte : d % 2 == 0 ? byte & 15 : byte >> 4;
            const std::uint16_t* of_key = scales.data() + (block * groups + d / group) * 32 + lane;
            ASSERT_EQ(keys[i], std::fma(bf16_to_f32(of_key[0]), static_cast<float>(code),
                                        bf16_to_f32(of_key[16])));
            const std::int64_t j = i / dim, e = i % dim;
            const std::uint16_t* of_value = scales.data() + (j * groups + e / group) * 2;
            const int own = value_code(codes.data() + j * row, bits, dim, e);
            ASSERT_EQ(values[i], std::fma(bf16_to_f32(of_value[0]), static_cast<float>(own),
                                          bf16_to_f32(of_value[1])));
          }
        });
      }
    }
  }
}

// --- logits ----------------------------------------------------------------------------

TEST(Logits, MaxIndex) {
  Random random(7);
  for (const std::int64_t n : kSizes) {
    for (int repeat = 0; repeat < 8; ++repeat) {
      std::vector<float> values = gaussians(random, n);
      // Ties: the largest value three times.
      const float top = *std::max_element(values.begin(), values.end());
      for (int i = 0; i < 2; ++i) values[random.below(n)] = top;
      const auto truth = std::max_element(values.begin(), values.end()) - values.begin();
      const Floats logits = guarded(values);
      for_each_table([&](const KernelTable& table) {
        float max = 0;
        std::int64_t index = -1;
        table.max_index(logits.data(), n, &max, &index);
        EXPECT_EQ(index, truth) << n;
        EXPECT_EQ(max, top) << n;
      });
    }
  }
}

TEST(Logits, MaxIndexOfOddValues) {
  struct Case {
    std::vector<float> logits;
    float max;
    std::int64_t index;
  };
  std::vector<float> late(40, kNan);
  late[37] = -5.0f;
  const Case cases[] = {{{kNan, 1.0f, 2.0f, kNan}, 2.0f, 2},
                        {{kNan, kNan}, kNan, 0},
                        {std::vector<float>(33, kNan), kNan, 0},
                        {{-kInf, -kInf, -kInf}, -kInf, 0},
                        {{kNan, -kInf}, -kInf, 1},
                        {{1.0f, kInf, kInf}, kInf, 1},
                        {{-1.0f, -0.0f, 0.0f}, -0.0f, 1},
                        {late, -5.0f, 37}};
  for (const Case& c : cases) {
    for_each_table([&](const KernelTable& table) {
      float max = 0;
      std::int64_t index = -1;
      table.max_index(c.logits.data(), static_cast<std::int64_t>(c.logits.size()), &max, &index);
      EXPECT_EQ(index, c.index);
      EXPECT_TRUE(same(max, c.max)) << max;
    });
  }
}

TEST(Logits, SumExp) {
  Random random(8);
  for (const std::int64_t n : {1, 15, 16, 17, 1000, 1023, 1024, 1025, 1040, 5000}) {
    const Floats logits = guarded(gaussians(random, n, 4.0));
    const float max = *std::max_element(logits.data(), logits.data() + n);
    const double truth = ref_sum_exp(logits.data(), n, max);
    const double expected = scalar().sum_exp(logits.data(), n, max);
    for_each_table([&](const KernelTable& table) {
      const double sum = table.sum_exp(logits.data(), n, max);
      EXPECT_EQ(std::bit_cast<std::uint64_t>(sum), std::bit_cast<std::uint64_t>(expected)) << n;
      // Differences to the maximum are below 64: off by at most 2^-19.
      EXPECT_NEAR(sum, truth, (0x1p-18 + dot_tolerance(1024, 1.0)) * truth) << n;
    });
  }
}

}  // namespace
}  // namespace qx
