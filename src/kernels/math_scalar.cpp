// The kernels in plain C++: every other table must equal this one bit for bit. Written for clarity,
// not speed; without hardware fused multiply-add std::fma is a library call, and still exact.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/half.h"
#include "kernels/codec.h"
#include "kernels/exp_constants.h"
#include "kernels/integer.h"
#include "kernels/tables.h"

namespace qx {
namespace {

constexpr int kLanes = 16;

float reduce16(float (&p)[kLanes]) {
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) p[l] += p[l + half];
  }
  return p[0];
}

float dot(const float* w, const float* x, std::int64_t n) {
  float p[kLanes] = {};
  for (std::int64_t k = 0; k < n; ++k) p[k % kLanes] = std::fma(w[k], x[k], p[k % kLanes]);
  return reduce16(p);
}

float exponential(float x) {
  if (std::isnan(x)) return x;
  if (x < kExpLowest) return 0.0f;
  if (x > kExpHighest) return std::numeric_limits<float>::infinity();
  const float t = std::fma(x, kLog2E, kRound);
  const float n = t - kRound;
  const float r = std::fma(n, -kLn2Low, std::fma(n, -kLn2High, x));
  float q = std::fma(kExpC6, r, kExpC5);
  q = std::fma(q, r, kExpC4);
  q = std::fma(q, r, kExpC3);
  q = std::fma(q, r, kExpC2);
  const float y = std::fma(q * r, r, r) + 1.0f;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(y) +
                              (std::bit_cast<std::uint32_t>(t) << 23));
}

// Ignores NaN; -infinity when nothing else is there.
float maximum(const float* x, std::int64_t n) {
  float max = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

void linear(const float* x, std::int64_t m, std::int64_t x_stride, const WeightRows& w,
            std::int64_t n_begin, std::int64_t n_end, float* out, std::int64_t out_stride,
            float* scratch) {
  for (std::int64_t n = n_begin; n < n_end; ++n) {
    codec_scalar::decode_row(w, n, 0, w.cols, scratch);
    for (std::int64_t i = 0; i < m; ++i) {
      out[i * out_stride + (n - n_begin)] = dot(scratch, x + i * x_stride, w.cols);
    }
  }
}

void rms_norm(const float* x, const float* weight, std::int64_t n, float eps, float* out) {
  const float mean = dot(x, x, n) / static_cast<float>(n);
  const float r = 1.0f / std::sqrt(mean + eps);
  for (std::int64_t i = 0; i < n; ++i) out[i] = (x[i] * r) * weight[i];
}

void rope(float* head, const float* cosine, const float* sine, std::int64_t n) {
  const std::int64_t half = n / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[i + half];
    head[i] = std::fma(a, cosine[i], -(b * sine[i]));
    head[i + half] = std::fma(b, cosine[i], a * sine[i]);
  }
}

void swiglu(float* gate, const float* up, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    gate[i] = (gate[i] / (1.0f + exponential(-gate[i]))) * up[i];
  }
}

void add(float* x, const float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) x[i] += y[i];
}

void attention_scores(const float* queries, std::int64_t query_stride, std::int64_t n,
                      const float* keys, const std::int64_t* counts, std::int64_t head_dim,
                      float scale, float* scores, std::int64_t score_stride) {
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < counts[i]; ++j) {
      const float* key = keys + j / kLanes * (kLanes * head_dim) + j % kLanes;
      float sum = 0;
      for (std::int64_t d = 0; d < head_dim; ++d) {
        sum = std::fma(queries[i * query_stride + d], key[d * kLanes], sum);
      }
      scores[i * score_stride + j] = sum * scale;
    }
  }
}

float softmax_unnormalized(float* scores, std::int64_t count) {
  const float max = maximum(scores, count);
  float p[kLanes] = {};
  for (std::int64_t j = 0; j < count; ++j) {
    scores[j] = exponential(scores[j] - max);
    p[j % kLanes] += scores[j];
  }
  return reduce16(p);
}

void attention_values(const float* probabilities, std::int64_t stride, std::int64_t n,
                      const float* values, std::int64_t value_stride, const std::int64_t* counts,
                      std::int64_t head_dim, float* out, std::int64_t out_stride) {
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < counts[i]; ++j) {
      const float* value = values + j * value_stride;
      for (std::int64_t d = 0; d < head_dim; ++d) {
        float& sum = out[i * out_stride + d];
        sum = std::fma(probabilities[i * stride + j], value[d], sum);
      }
    }
  }
}

int kv_code(std::uint8_t byte, int bits, bool high) {
  return bits == 8 ? byte : high ? byte >> 4 : byte & 15;
}

void decode_keys(const std::uint8_t* codes, const std::uint16_t* scales, int bits,
                 std::int64_t blocks, std::int64_t head_dim, std::int64_t group, float* out) {
  const std::int64_t groups = (head_dim + group - 1) / group;
  for (std::int64_t row = 0; row < blocks * head_dim; ++row) {
    const std::int64_t b = row / head_dim, d = row % head_dim;
    const std::int64_t code_row = b * kv_row_bytes(head_dim, bits) + d * bits / 8;
    for (std::int64_t l = 0; l < kLanes; ++l) {
      const std::uint16_t* scale = scales + (b * groups + d / group) * 2 * kLanes + l;
      const int code = kv_code(codes[code_row * kLanes + l], bits, d % 2 == 1);
      out[row * kLanes + l] =
          std::fma(bf16_to_f32(scale[0]), static_cast<float>(code), bf16_to_f32(scale[kLanes]));
    }
  }
}

void decode_values(const std::uint8_t* codes, const std::uint16_t* scales, int bits,
                   std::int64_t count, std::int64_t head_dim, std::int64_t group, float* out) {
  const std::int64_t groups = (head_dim + group - 1) / group;
  for (std::int64_t j = 0; j < count; ++j) {
    for (std::int64_t d = 0; d < head_dim; ++d) {
      // Of 4 bits, a piece of 32 elements, or what is left, is two halves in the same bytes.
      const std::int64_t half = (std::min<std::int64_t>(32, head_dim - d / 32 * 32) + 1) / 2;
      const bool high = bits == 4 && d % 32 >= half;
      const std::int64_t at = bits == 8 ? d : d / 32 * 16 + d % 32 - (high ? half : 0);
      const std::uint16_t* scale = scales + (j * groups + d / group) * 2;
      const int code = kv_code(codes[j * kv_row_bytes(head_dim, bits) + at], bits, high);
      out[j * head_dim + d] =
          std::fma(bf16_to_f32(scale[0]), static_cast<float>(code), bf16_to_f32(scale[1]));
    }
  }
}

void max_index(const float* logits, std::int64_t n, float* max, std::int64_t* index) {
  const float best = maximum(logits, n);
  const float* found = std::find(logits, logits + n, best);
  *index = found == logits + n ? 0 : found - logits;
  *max = logits[*index];
}

double sum_exp(const float* logits, std::int64_t n, float max) {
  constexpr std::int64_t kBlock = 1024;
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t end = std::min(n, begin + kBlock);
    float p[kLanes] = {};
    for (std::int64_t i = begin; i < end; ++i) p[i % kLanes] += exponential(logits[i] - max);
    total += static_cast<double>(reduce16(p));
  }
  return total;
}

}  // namespace

const KernelTable kScalarTable = {"scalar",
                                  codec_scalar::affine_encode_row,
                                  codec_scalar::decode_row,
                                  linear,
                                  integer_scalar::quantize_row,
                                  integer_scalar::linear_integer,
                                  rms_norm,
                                  rope,
                                  swiglu,
                                  add,
                                  attention_scores,
                                  softmax_unnormalized,
                                  attention_values,
                                  decode_keys,
                                  decode_values,
                                  max_index,
                                  sum_exp};

}  // namespace qx
