// Products of bfloat16 rows with bfloat16 weights for AVX-512 with BF16.
//
// vdpbf16ps adds two products to each of 16 sums. Lanes run along k in both ways of going through
// the weights, so that a sum is the same chain in both:
//   few rows of x   straight from the weights, four rows at a time;
//   many rows       a tile of weight rows is copied once to panels [K / 32][4 rows][32], which the
//                   same inner kernel reads in one stream while six rows of x stay in the
//                   first-level cache. Long rows go in passes, between which sums rest in scratch.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear_bf16.h"

#include <immintrin.h>

namespace qx::linear_avx512bf16 {
namespace {

constexpr std::int64_t kStep = 32;  // values of bfloat16 in a vector
constexpr std::int64_t kVector = 64;
constexpr int kLanes = 16;
constexpr int kRows = 4;        // weight rows of the inner kernel
constexpr int kMicroRows = 6;   // rows of x there
constexpr int kFewRows = 24;    // largest M of the first way
constexpr int kBlockRows = 48;  // many rows: rows of x whose sums rest in scratch between passes
constexpr int kTileRows = 96;   // weight rows in a tile,
constexpr std::int64_t kTileBytes = 400 * 1024;  // unless it would exceed this; then fewer
constexpr std::int64_t kDepth = 2048;            // k of a pass, at most
// Weights lie one after the other and are fetched in their own order, ahead of their use by this
// and at least by the rows that are in use together.
constexpr std::int64_t kAhead = 16384;

struct Job {
  const std::uint16_t* x;
  std::int64_t x_stride;
  const WeightRows* w;
  std::int64_t n_begin, n_end;
  float* out;
  std::int64_t out_stride;
  float* scratch;
  std::int64_t steps() const { return (w->cols + kStep - 1) / kStep; }
  std::int64_t row_bytes() const { return 2 * w->cols; }
};

inline std::int64_t smaller(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}

// The first n of 32 values.
inline __mmask32 first_values(std::int64_t n) {
  return n >= kStep ? ~__mmask32{0} : (__mmask32{1} << n) - 1;
}

// Keeps the compiler from folding a load into each of its uses.
inline __m512i in_register(__m512i v) {
  __asm__("" : "+v"(v));
  return v;
}

inline __m512 dot(__m512 sum, __m512i w, __m512i x) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(w), reinterpret_cast<__m512bh>(x));
}

// Four weight rows, a step of each at p + r * row; the next steps `step` bytes on.
struct Four {
  const std::byte* p;
  std::int64_t row, step;
};

// sums[m * kRows + r] += x[m] . row r, for `count` whole steps.
template <int M, bool kPrefetch>
inline void add_steps(const std::uint16_t* x, std::int64_t x_stride, const Four& w,
                      std::int64_t count, std::int64_t ahead, __m512 (&sums)[M * kRows]) {
  const std::byte* p = w.p;
  const std::byte* fetch = w.p + ahead;
  for (std::int64_t i = 0; i < count; ++i) {
    if constexpr (kPrefetch) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) _mm_prefetch(fetch + r * kVector, _MM_HINT_T0);
      fetch += kRows * kVector;
    }
    __m512i rows[kRows];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) rows[r] = in_register(_mm512_loadu_si512(p + r * w.row));
#pragma GCC unroll 6
    for (int m = 0; m < M; ++m) {
      const __m512i v = in_register(_mm512_load_si512(x + m * x_stride));
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sums[m * kRows + r] = dot(sums[m * kRows + r], rows[r], v);
    }
    p += w.step;
    x += kStep;
  }
}

// The last step of rows that do not fill it. x goes on in zeros.
template <int M>
inline void add_part(const std::uint16_t* x, std::int64_t x_stride, const Four& w,
                     std::int64_t values, __m512 (&sums)[M * kRows]) {
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    const __m512i row = _mm512_maskz_loadu_epi16(first_values(values), w.p + r * w.row);
#pragma GCC unroll 6
    for (int m = 0; m < M; ++m) {
      sums[m * kRows + r] = dot(sums[m * kRows + r], row, _mm512_load_si512(x + m * x_stride));
    }
  }
}

// reduce16's first two steps for four vectors, which get a quarter each.
inline __m512 fold_four(const __m512* v) {
  const __m512 a =
      _mm512_add_ps(_mm512_shuffle_f32x4(v[0], v[1], 0x44), _mm512_shuffle_f32x4(v[0], v[1], 0xEE));
  const __m512 b =
      _mm512_add_ps(_mm512_shuffle_f32x4(v[2], v[3], 0x44), _mm512_shuffle_f32x4(v[2], v[3], 0xEE));
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
}

// Its other two for two rows of x: lanes (a 0+2, a 1+3, b 0+2, b 1+3) of every quarter.
inline __m512 fold_pair(__m512 a, __m512 b) {
  const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
  return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                       _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}

// out[m * out_stride + r] = reduce16(sums[m * kRows + r]) for r in [0, width).
template <int M>
inline void store_sums(const __m512 (&sums)[M * kRows], float* out, std::int64_t out_stride,
                       std::int64_t width) {
  // Lane 4 m + r of the result is lane 4 r + m of what the folds leave.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const auto some = static_cast<__mmask8>((1u << width) - 1u);
#pragma GCC unroll 2
  for (int first = 0; first < M; first += 4) {
    __m512 rows[4];
#pragma GCC unroll 4
    for (int m = 0; m < 4; ++m) {
      rows[m] = first + m < M ? fold_four(sums + (first + m) * kRows) : _mm512_setzero_ps();
    }
    const __m512 a = fold_pair(rows[0], rows[1]), b = fold_pair(rows[2], rows[3]);
    const __m512 all = _mm512_permutexvar_ps(
        order, _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD)));
    alignas(64) float four[4][4];
    _mm512_store_ps(&four[0][0], all);
#pragma GCC unroll 4
    for (int m = 0; m < 4; ++m) {
      if (first + m < M) {
        _mm_mask_storeu_ps(out + (first + m) * out_stride, some, _mm_load_ps(four[m]));
      }
    }
  }
}

// Calls body.template run<M>() for M = rows in [1, kMicroRows].
template <int M = kMicroRows, class Body>
inline void with_rows(std::int64_t rows, const Body& body) {
  if constexpr (M > 1) {
    if (rows < M) return with_rows<M - 1>(rows, body);
  }
  body.template run<M>();
}

// --- few rows of x ---------------------------------------------------------------------

struct FewRows {
  const Job* job;
  Four w;
  std::int64_t m, n, width;
  bool first;

  template <int M>
  void run() const {
    const std::int64_t whole = job->w->cols / kStep, rest = job->w->cols % kStep;
    const std::uint16_t* x = job->x + m * job->x_stride;
    __m512 sums[M * kRows];
#pragma GCC unroll 24
    for (int i = 0; i < M * kRows; ++i) sums[i] = _mm512_setzero_ps();
    if (first) {
      const std::int64_t rows = kRows * job->row_bytes();
      add_steps<M, true>(x, job->x_stride, w, whole, rows < kAhead ? kAhead : rows, sums);
    } else {
      add_steps<M, false>(x, job->x_stride, w, whole, 0, sums);
    }
    if (rest > 0) {
      const Four last = {w.p + whole * w.step, w.row, w.step};
      add_part<M>(x + whole * kStep, job->x_stride, last, rest, sums);
    }
    store_sums<M>(sums, job->out + m * job->out_stride + (n - job->n_begin), job->out_stride,
                  width);
  }
};

void few_rows(const Job& job, std::int64_t rows_of_x) {
  const std::int64_t row_bytes = job.row_bytes();
  // The last four rows may overlap those before. Fewer than four: one at a time, four times over.
  const bool few = job.n_end - job.n_begin < kRows;
  const std::int64_t width = few ? 1 : kRows;
  for (std::int64_t i = job.n_begin; i < job.n_end; i += width) {
    const std::int64_t n = smaller(i, job.n_end - width);
    const Four w = {job.w->values + n * row_bytes, few ? 0 : row_bytes, kVector};
    for (std::int64_t m = 0; m < rows_of_x; m += kMicroRows) {
      with_rows(rows_of_x - m, FewRows{&job, w, m, n, width, m == 0});
    }
  }
}

// --- many rows of x --------------------------------------------------------------------

// Weight rows in scratch, zeros beyond K and beyond the last one.
struct Tile {
  std::byte* weights;  // panels [steps][kRows][32 values]
  float* partial;      // [kBlockRows][panels][kRows][16]
  std::int64_t rows, panels, steps;
  std::byte* panel(std::int64_t p) const { return weights + p * steps * kRows * kVector; }
};

void pack(const Job& job, std::int64_t n, const Tile& tile) {
  const std::int64_t whole = job.w->cols / kStep, rest = job.w->cols % kStep;
  for (std::int64_t r = 0; r < tile.panels * kRows; ++r) {
    const std::byte* from = job.w->values + (n + r) * job.row_bytes();
    std::byte* to = tile.panel(r / kRows) + r % kRows * kVector;
    const bool real = r < tile.rows;
    for (std::int64_t s = 0; s < whole; ++s) {
      const __m512i v = real ? _mm512_loadu_si512(from + s * kVector) : _mm512_setzero_si512();
      _mm512_store_si512(to + s * kRows * kVector, v);
    }
    if (rest > 0) {
      const __mmask32 some = real ? first_values(rest) : 0;
      _mm512_store_si512(to + whole * kRows * kVector,
                         _mm512_maskz_loadu_epi16(some, from + whole * kVector));
    }
  }
}

// Steps [step, step + count) of rows m.. of x, which are rows block_row.. of their block, with all
// panels.
struct ManyRows {
  const Job* job;
  const Tile* tile;
  std::int64_t m, block_row, n, step, count;

  template <int M>
  void run() const {
    const bool is_first = step == 0, is_last = step + count == tile->steps;
    const std::uint16_t* x = job->x + m * job->x_stride + step * kStep;
    float* partial = tile->partial + block_row * tile->panels * kRows * kLanes;
    for (std::int64_t panel = 0; panel < tile->panels; ++panel) {
      __m512 sums[M * kRows];
#pragma GCC unroll 24
      for (int i = 0; i < M * kRows; ++i) {
        sums[i] = is_first ? _mm512_setzero_ps() : _mm512_load_ps(partial + i * kLanes);
      }
      const Four w = {tile->panel(panel) + step * kRows * kVector, kVector, kRows * kVector};
      add_steps<M, false>(x, job->x_stride, w, count, 0, sums);
      if (is_last) {
        float* out = job->out + m * job->out_stride + (n - job->n_begin) + panel * kRows;
        store_sums<M>(sums, out, job->out_stride, smaller(kRows, tile->rows - panel * kRows));
      } else {
#pragma GCC unroll 24
        for (int i = 0; i < M * kRows; ++i) _mm512_store_ps(partial + i * kLanes, sums[i]);
      }
      partial += M * kRows * kLanes;
    }
  }
};

void many_rows(const Job& job, std::int64_t rows_of_x) {
  Tile tile;
  tile.steps = job.steps();
  const std::int64_t row_bytes = tile.steps * kVector;
  std::int64_t most = kTileBytes / (kRows * row_bytes) * kRows;
  most = most < kRows ? kRows : smaller(most, kTileRows);
  // As even as they can be.
  const std::int64_t all = job.n_end - job.n_begin, tiles = (all + most - 1) / most;
  const std::int64_t height = ((all + tiles - 1) / tiles + kRows - 1) / kRows * kRows;
  const std::int64_t passes = (tile.steps * kStep + kDepth - 1) / kDepth;
  const std::int64_t depth = (tile.steps + passes - 1) / passes;
  tile.partial = job.scratch;
  tile.weights = reinterpret_cast<std::byte*>(tile.partial + kBlockRows * kTileRows * kLanes);
  for (std::int64_t n = job.n_begin; n < job.n_end; n += height) {
    tile.rows = smaller(height, job.n_end - n);
    tile.panels = (tile.rows + kRows - 1) / kRows;
    pack(job, n, tile);
    for (std::int64_t begin = 0; begin < rows_of_x; begin += kBlockRows) {
      const std::int64_t end = smaller(rows_of_x, begin + kBlockRows);
      for (std::int64_t step = 0; step < tile.steps; step += depth) {
        const std::int64_t count = smaller(depth, tile.steps - step);
        for (std::int64_t m = begin; m < end; m += kMicroRows) {
          with_rows(end - m, ManyRows{&job, &tile, m, m - begin, n, step, count});
        }
      }
    }
  }
}

}  // namespace

void round_bf16(const float* x, std::int64_t n, std::uint16_t* out) {
  for (std::int64_t k = 0; k < n; k += kLanes) {
    const auto some = static_cast<__mmask16>(first_values(n - k));
    const __m256bh v = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(some, x + k));
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + k), reinterpret_cast<__m256i>(v));
  }
  // A whole number of steps.
  const std::int64_t written = (n + kLanes - 1) / kLanes * kLanes;
  if (written < padded_bf16(n)) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + written), _mm256_setzero_si256());
  }
}

void linear_bf16(const std::uint16_t* x, std::int64_t m, std::int64_t x_stride, const WeightRows& w,
                 std::int64_t n_begin, std::int64_t n_end, float* out, std::int64_t out_stride,
                 float* scratch) {
  if (m < 1 || n_begin >= n_end) return;
  const Job job = {x, x_stride, &w, n_begin, n_end, out, out_stride, scratch};
  if (m <= kFewRows) {
    few_rows(job, m);
  } else {
    many_rows(job, m);
  }
}

}  // namespace qx::linear_avx512bf16
