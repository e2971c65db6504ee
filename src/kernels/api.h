// The table of compute kernels of one instruction set. Raw pointers only: contracts are here,
// policy is in the folders above. Every entry is pure (no state, no allocation) and may run on any
// thread.
//
// The order of operations is part of the contract, so that results depend neither on the
// instruction set nor on how many rows are computed together. All tables give equal bits for equal
// input (where a result is NaN, all are NaN; its sign and payload may differ).
//
// Dot product: a dot product over K keeps 16 partial sums, each starting at +0; partial sum l takes
// the elements k with k mod 16 == l in rising order by fused multiply-add in float32, weight
// times x; then reduce16 adds the 16 by halving, all in float32:
//     for half in 8, 4, 2, 1:   p[l] = p[l] + p[l + half]   for l in [0, half);   the sum is p[0].
// That is ((0+8)+(4+12)) + ((2+10)+(6+14)) plus the odd ones alike.
//
// exp: the polynomial of kernels/exp_constants.h. exp(x) is 0 below -87.33654 (no subnormal
// results), infinity above 88.72283, NaN for NaN, and within 1.01 ulp in between.
//
// ref_* functions (kernels/ref.h) compute in double and are what the tests compare against.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace qx {

// A weight matrix as stored: float rows, or affine codes with scales and biases (quant/affine.h).
// All pointers may be unaligned. Kinds are plain integers so that this header needs no other.
enum class WeightKind : std::uint8_t { kF32, kF16, kBF16, kAffine };
enum class ScaleKind : std::uint8_t { kF32, kF16, kBF16 };

struct WeightRows {
  WeightKind kind = WeightKind::kF32;
  ScaleKind scale_kind = ScaleKind::kBF16;  // affine only
  int bits = 0, group = 0;                  // affine only
  std::int64_t rows = 0, cols = 0;
  const std::byte* values = nullptr;  // float rows or packed codes
  const std::byte* scales = nullptr;
  const std::byte* biases = nullptr;
};

struct KernelTable {
  const char* name;  // "scalar", "avx2", "avx512"

  // --- codec -------------------------------------------------------------------------------------
  // Encodes one row of cols float32 values that came from type T (values exactly representable in
  // T); writes cols/8*bits bytes of codes and cols/group scales and biases of T. gpu_rounding
  // selects MLX's GPU encoder. Returns false when a value is NaN or infinite (the output is then
  // unspecified).
  bool (*affine_encode_row)(const float* row, std::int64_t cols, int bits, int group,
                            bool gpu_rounding, ScaleKind type, std::byte* codes, std::byte* scales,
                            std::byte* biases);
  // out[c] = value of element (row, begin + c), c in [0, n); begin and n are multiples of 32 for
  // affine weights, arbitrary for float ones. Affine: fma(scale, code, bias).
  void (*decode_row)(const WeightRows& w, std::int64_t row, std::int64_t begin, std::int64_t n,
                     float* out);

  // --- linear ------------------------------------------------------------------------------------
  // out[m * out_stride + (n - n_begin)] = dot(x[m], w[n]) for m in [0, M), n in [n_begin, n_end).
  // x is [M, K] float32 with row stride x_stride (elements), K = w.cols. scratch: at least
  // linear_scratch_floats(K) floats, 64-byte aligned. No byte outside the matrix's own rows, scales
  // and biases is read, and none outside the m rows of x.
  void (*linear)(const float* x, std::int64_t m, std::int64_t x_stride, const WeightRows& w,
                 std::int64_t n_begin, std::int64_t n_end, float* out, std::int64_t out_stride,
                 float* scratch);

  // --- the rest of a transformer layer -------------------------------------------------------------
  // out = (x * r) * weight with r = 1 / sqrt(sum / n + eps), sum = dot(x, x) in the order above. out
  // may alias x.
  void (*rms_norm)(const float* x, const float* weight, std::int64_t n, float eps, float* out);
  // Half-split rotation of one head in place: (a, b) = (x[i], x[i + n/2]) -> (a c - b s, b c + a
  // s), as fma(a, c, -(b * s)) and fma(b, c, a * s). cosine, sine: n/2 elements each.
  void (*rope)(float* head, const float* cosine, const float* sine, std::int64_t n);
  // gate = silu(gate) * up, elementwise: (gate / (1 + exp(-gate))) * up.
  void (*swiglu)(float* gate, const float* up, std::int64_t n);
  // x += y.
  void (*add)(float* x, const float* y, std::int64_t n);
  // Attention of n queries that share the keys and values of one head. Query i sees the first
  // counts[i] >= 0 of them. Keys lie in blocks of 16, transposed: element d of key j is
  // keys[(j / 16 * head_dim + d) * 16 + j % 16], and whole blocks are read, as far as
  // max(counts); what their lanes past it hold does not matter. head_dim >= 1.
  // scores[i * score_stride + j] = (sum over d of queries[i * query_stride + d] * key j's d) *
  // scale, for j in [0, counts[i]): one chain of fused multiply-adds from +0, d rising, the same
  // whatever block or lane the key is in. Elements j in [counts[i], max(counts)) are left with any
  // content.
  void (*attention_scores)(const float* queries, std::int64_t query_stride, std::int64_t n,
                           const float* keys, const std::int64_t* counts, std::int64_t head_dim,
                           float scale, float* scores, std::int64_t score_stride);
  // scores -> exp(scores - max) in place; returns their sum (16 partial sums by index mod 16, added
  // plainly in rising order, then reduce16). 0 when count is 0.
  float (*softmax_unnormalized)(float* scores, std::int64_t count);
  // out[i * out_stride + d] += sum over j in [0, counts[i]) of probabilities[i * stride + j] *
  // values[j * value_stride + d], j rising, fused multiply-add each. So a sequence that is stored
  // in pieces gives the same bits as one stored whole.
  void (*attention_values)(const float* probabilities, std::int64_t stride, std::int64_t n,
                           const float* values, std::int64_t value_stride,
                           const std::int64_t* counts, std::int64_t head_dim, float* out,
                           std::int64_t out_stride);
  // Keys and values of 8 bits, decoded: code * scale, rounded once. Keys, in the blocks above:
  // out[b][d][l] = codes[b][d][l] * scales[b][d / group][l] for `blocks` blocks of 16 positions
  // with `head_dim` rows of 16 lanes, ceil(head_dim / group) rows of scales a block.
  void (*decode_keys_i8)(const std::int8_t* codes, const float* scales, std::int64_t blocks,
                         std::int64_t head_dim, std::int64_t group, float* out);
  // out[j][d] = codes[j][d] * scales[j][d / group], all dense. group is a multiple of 16.
  void (*decode_values_i8)(const std::int8_t* codes, const float* scales, std::int64_t count,
                           std::int64_t head_dim, std::int64_t group, float* out);
  // Maximum of n >= 1 logits and its first index. NaN never wins; if all are NaN, the index is 0
  // and max is logits[0].
  void (*max_index)(const float* logits, std::int64_t n, float* max, std::int64_t* index);
  // Sum of exp(logits[i] - max) in double over fixed blocks: 16 float partial sums per 1024
  // elements, each block's total added in double.
  double (*sum_exp)(const float* logits, std::int64_t n, float max);
};

// Per thread, 1 MB and ten rows. Enough for every table: a tile of decoded weights and partial
// sums that fits the second-level cache.
constexpr std::int64_t linear_scratch_floats(std::int64_t k) {
  return 256 * 1024 + 10 * (k + 64);
}

// The tables compiled into this binary that this machine can run, slowest ("scalar") first.
struct KernelTables {
  const KernelTable* tables[8];
  int count;
};
const KernelTables& available_kernels();

// The table in use. Chosen once: the fastest available one, unless the environment variable QX_ISA
// or select_kernels() names another. Fails: Error when QX_ISA names one that this machine cannot
// run.
const KernelTable& kernels();
// Call before any work starts. Returns false when this machine has no such table.
bool select_kernels(const char* name);

}  // namespace qx
