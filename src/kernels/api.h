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
// Integer product: see IntegerRows. Codes times integers are summed exactly, group by group; only
// what follows is float32, in one order: for the groups g in rising order
//     t = fma(scale, float(I), bias * float(A));   p[g mod 4] = fma(d, t, p[g mod 4])
// from four partial sums of +0, and the result is (p[0] + p[2]) + (p[1] + p[3]). Where row m of x has
// elements apart, q is added to that: from +0, in rising order of their columns k,
//     q = fma(x[k], fma(scale, float(c[k]), bias), q)
//
// Bfloat16 product: see linear_bf16. 16 partial sums from +0; partial sum l takes the pairs of
// columns (k, k + 1) with k mod 32 == 2 l in rising order, k + 1 before k, by fused multiply-add in
// float32 (zeros beyond the last column); then reduce16. Subnormal bfloat16 values and subnormal
// sums count as zero of the same sign, whatever the mode of the thread.
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

// An element of a row of x that is multiplied in float32 beside its group.
struct ApartElement {
  std::int32_t column;
  float value;
};

// Rows of activations as integers, the left side of integer products with affine weights. Within a
// group of consecutive columns x[k] is taken as d * a[k]:
//   two planes (precision exact)  a in [-32512, 32512], stored as 256 * high + low, low in
//                                 [-128, 127]: error of x at most max|x| / 65024, 16 bits
//   one plane (precision fast)    a in [-127, 127]: error at most max|x| / 254, 8 bits
// d = max|x| / limit and a = round-half-even(x * (limit / max|x|)), each operation in float32. A
// group whose max|x| is under kSmallestActivation is all zero with d = 0; one that holds NaN or
// infinity is zero with d = NaN, so that every product with it is NaN.
//
// Elements apart (two planes only): one large element makes the step d of its group coarse for all
// others. Where a group's max|x| exceeds the limit kApartRatio * (the mean of all groups' max|x|)
// and no more than kMostApart of its elements do, these elements are apart: their a is 0 and d is
// that of the others. The limit is s * (kApartRatio / groups), s = (s[0] + s[2]) + (s[1] + s[3])
// and s[g mod 4] the sum of the groups' max|x| in rising order, in float32; a row in which that is
// not finite has none.
//
// With codes c >= 0 of a weight row, I = sum(c a) and A = sum(a) over a group; |I| < 2^31 since
// 128 * 255 * 32512 is, so 32-bit sums are exact in any order.
struct IntegerRows {
  int planes = 2;
  int group = 64;                  // that of the weights: 32, 64 or 128
  std::int64_t cols = 0;           // a multiple of the group
  std::int64_t row_bytes = 0;      // from row to row of codes; a multiple of 64
  std::int64_t groups_stride = 0;  // from row to row of scales and sums; a multiple of 4
  // Row m: planes of plane_bytes(cols) bytes each, the high one first; zeros beyond cols. 64-byte
  // aligned.
  std::int8_t* codes = nullptr;
  float* scales = nullptr;  // d; zeros beyond cols / group, up to a multiple of 4. 16-byte aligned
  float* sums = nullptr;    // A, exact; likewise
  // Row m: apart_counts[m] of them from apart + m * apart_stride on, columns rising. Null: no row
  // has any.
  std::int64_t apart_stride = 0;  // most_apart(cols, group)
  ApartElement* apart = nullptr;
  std::int32_t* apart_counts = nullptr;
};
constexpr std::int64_t plane_bytes(std::int64_t cols) {
  return (cols + 63) / 64 * 64;
}
constexpr std::int64_t padded_groups(std::int64_t cols, int group) {
  return (cols / group + 3) / 4 * 4;
}
// Bytes of the codes of one key or value.
constexpr std::int64_t kv_row_bytes(std::int64_t head_dim, int bits) {
  return (head_dim * bits + 7) / 8;
}
constexpr std::int64_t padded_bf16(std::int64_t cols) {
  return (cols + 31) / 32 * 32;
}
constexpr float kApartRatio = 3.0f;
constexpr int kMostApart = 8;  // of a group
// Elements apart of a row: fewer than groups / kApartRatio groups exceed kApartRatio times their mean.
constexpr std::int64_t most_apart(std::int64_t cols, int group) {
  return 3 * (cols / group);
}
static_assert(kMostApart < 3 * kApartRatio);
constexpr float kSmallestActivation = 0x1p-100f, kLargestFloat = 0x1.fffffep127f;
constexpr float kExactLimit = 32512.0f, kFastLimit = 127.0f;

struct KernelTable {
  const char* name;  // "scalar", "avx2", ..: docs/kernels.md has the list

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

  // Writes one row of IntegerRows (codes, scales and sums are those of the row, padding included)
  // from cols float32 values, a multiple of group, and returns how many elements it wrote to apart,
  // at most most_apart(). With one plane that is none, and apart may be null.
  std::int32_t (*quantize_row)(const float* x, std::int64_t cols, int group, int planes,
                               std::int8_t* codes, float* scales, float* sums, ApartElement* apart);
  // out[(m - m_begin) * out_stride + (n - n_begin)] = integer product of row m of x and row n of w
  // for m in [m_begin, m_end), n in [n_begin, n_end). w is affine with x's group and cols. scratch
  // as for linear; no byte outside the matrix's own rows, scales and biases is read.
  void (*linear_integer)(const IntegerRows& x, std::int64_t m_begin, std::int64_t m_end,
                         const WeightRows& w, std::int64_t n_begin, std::int64_t n_end, float* out,
                         std::int64_t out_stride, float* scratch);

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
  // Keys and values of 8 or 4 bits, decoded: fma(scale, code, bias) of unsigned codes, with scales
  // and biases in bfloat16 for each `group` elements of a key or value, a multiple of 32. A key or
  // value takes kv_row_bytes(). Keys lie in the blocks above, element d of lane l:
  //   8 bits  codes[b][d][l]
  //   4 bits  codes[b][d / 2][l], an even d in the low half of the byte, an odd one in the high half
  //   scales[b][d / group][0][l], their biases scales[b][d / group][1][l];  out[b][d][l]
  // for `blocks` blocks.
  void (*decode_keys)(const std::uint8_t* codes, const std::uint16_t* scales, int bits,
                      std::int64_t blocks, std::int64_t head_dim, std::int64_t group, float* out);
  // Values, `count` rows, all dense: out[j][d].
  //   8 bits  codes[j][d]
  //   4 bits  of each 32 elements, 16 bytes: the first 16 in their low halves, the others in the
  //           high ones; of the r < 32 that are left, ceil(r / 2) bytes alike
  //   scales[j][d / group][0], biases scales[j][d / group][1]
  void (*decode_values)(const std::uint8_t* codes, const std::uint16_t* scales, int bits,
                        std::int64_t count, std::int64_t head_dim, std::int64_t group, float* out);
  // Maximum of n >= 1 logits and its first index. NaN never wins; if all are NaN, the index is 0
  // and max is logits[0].
  void (*max_index)(const float* logits, std::int64_t n, float* max, std::int64_t* index);
  // Sum of exp(logits[i] - max) in double over fixed blocks: 16 float partial sums per 1024
  // elements, each block's total added in double.
  double (*sum_exp)(const float* logits, std::int64_t n, float max);

  // --- bfloat16 products (precision fast on kBF16 weights) -----------------------------------------
  // Both null where the machine has no instruction for them: then take linear with the rounded x as
  // float32, where each product of two bfloat16 values is exact. Tables that have them differ from
  // those that do not in the order of sums, so not by more than either may differ from the exact sum.
  //
  // out[k] = x[k] rounded to bfloat16, half to even, for k in [0, n), and zeros up to
  // padded_bf16(n). NaN stays NaN; a subnormal x may become zero. out is 64-byte aligned.
  void (*round_bf16)(const float* x, std::int64_t n, std::uint16_t* out) = nullptr;
  // As linear, with w of kind kBF16. Rows of x are as round_bf16 writes them, padding included;
  // x_stride is a multiple of 32.
  void (*linear_bf16)(const std::uint16_t* x, std::int64_t m, std::int64_t x_stride,
                      const WeightRows& w, std::int64_t n_begin, std::int64_t n_end, float* out,
                      std::int64_t out_stride, float* scratch) = nullptr;
};

// Per thread, 1 MB and twenty rows. Enough for every table: a tile of decoded weights and partial
// sums that fits the second-level cache, or 64 rows of codes with their scales and biases.
constexpr std::int64_t linear_scratch_floats(std::int64_t k) {
  return 256 * 1024 + 20 * (k + 64);
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
