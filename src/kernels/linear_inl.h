// linear(), written once over 16-lane vectors; included like math_vector_inl.h, with the same
// rules. Two ways, chosen by the number of rows of x:
//   few rows   every 16 weights are decoded into a register and used at once for all rows of x;
//   many rows  a tile of weight rows is decoded into scratch, as panels [K / 16][kPanelRows][16]
//              that the inner kernel reads in one stream, and used for blocks of x that stay in
//              the second-level cache.
// Both keep one 16-lane partial sum per output and add to it in rising k: the same bits.
//
// Beyond the operations of math_vector_inl.h the including file defines
//   kFusedRowsOfX           largest M of the first way
//   fused_weight_rows(M)    weight rows at a time there
//   kPanelRows, kMicroRows  the inner kernel's block: weight rows x rows of x
//   kDepth                  k per pass of the inner kernel: a panel that deep stays in the
//                           first-level cache
//   Codes<bits>             Group make(scale, bias); V16 values<Half>(p, group): the values
//                           fma(scale, code, bias) of the first (Half 0) or second 16 of the 32
//                           packed codes at p; reads none but their bytes
//   load_bytes load_f16 load_bf16, each with _part: 16 values as float32, from any byte address
//   in_register(v)          v, kept in a register
//   micro_step<M>(x, x_stride, w, acc)  for 16 k: acc[m * kPanelRows + r] += w[r] * x[m], where
//                           w is [kPanelRows][16]
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/math_vector_inl.h"

namespace qx {
namespace {

constexpr std::int64_t kBlockRowsOfX = 64;        // many rows: rows of x per block
constexpr std::int64_t kTilePanels = 6;           // panels decoded at a time
constexpr std::int64_t kTileFloats = 192 * 1024;  // unless a tile would exceed this; then fewer

// --- decoders: how 16 values of a row are read -----------------------------------------

// Float weights: no groups. Values go in pairs of vectors, as codes do.
template <V16 (*kLoad)(const std::byte*), V16 (*kLoadPart)(const std::byte*, int), int kBytes>
struct FloatSource {
  static constexpr bool kAffine = false;
  static constexpr std::int64_t kStepBytes = kBytes;  // of 16 values
  struct Group {};
  static Group make(float, float) { return {}; }
  template <int Half>
  static V16 values(const std::byte* p, const Group&) {
    return kLoad(p + Half * kStepBytes);
  }
  static V16 part(const std::byte* p, int n) { return kLoadPart(p, n); }
};
using F32Source = FloatSource<load_bytes, load_bytes_part, 64>;
using F16Source = FloatSource<load_f16, load_f16_part, 32>;
using BF16Source = FloatSource<load_bf16, load_bf16_part, 32>;

// K is a multiple of 32, so there is never a part.
template <int Bits>
struct AffineSource : Codes<Bits> {
  static constexpr bool kAffine = true;
  static constexpr std::int64_t kStepBytes = 2 * Bits;
  static V16 part(const std::byte*, int) { return zero(); }
};

template <class Source>
void widen_with(const std::byte* from, std::int64_t n, float* to) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    store(to + i, Source::template values<0>(from + i / kLanes * Source::kStepBytes, {}));
  }
  const int rest = static_cast<int>(n - i);
  if (rest > 0) {
    store_part(to + i, Source::part(from + i / kLanes * Source::kStepBytes, rest), rest);
  }
}

inline void widen(ScaleKind kind, const std::byte* from, std::int64_t n, float* to) {
  switch (kind) {
    case ScaleKind::kF32:
      return widen_with<F32Source>(from, n, to);
    case ScaleKind::kF16:
      return widen_with<F16Source>(from, n, to);
    case ScaleKind::kBF16:
      return widen_with<BF16Source>(from, n, to);
  }
}

// Consecutive weight rows with their scales and biases widened to float32.
struct Rows {
  const std::byte* values;
  const float* scales;  // null for float weights, like biases
  const float* biases;
  std::int64_t value_stride;  // bytes
  std::int64_t scale_stride;  // elements: K / group
  Rows from(std::int64_t row) const {
    return {values + row * value_stride, scales + row * scale_stride, biases + row * scale_stride,
            value_stride, scale_stride};
  }
};

// Rows [n, n + count). Uses 2 * count * K / group floats of scratch for affine weights and none
// for floats.
template <class Source>
Rows open_rows(const WeightRows& w, std::int64_t n, std::int64_t count, float* scratch) {
  const std::int64_t value_stride = w.cols * Source::kStepBytes / kLanes;
  Rows rows = {w.values + n * value_stride, scratch, scratch, value_stride, 0};
  if constexpr (Source::kAffine) {
    rows.scale_stride = w.cols / w.group;
    const std::int64_t bytes = rows.scale_stride * (w.scale_kind == ScaleKind::kF32 ? 4 : 2);
    const std::int64_t total = count * rows.scale_stride;
    widen(w.scale_kind, w.scales + n * bytes, total, scratch);
    widen(w.scale_kind, w.biases + n * bytes, total, scratch + total);
    rows.biases = scratch + total;
  }
  return rows;
}

// --- few rows of x ---------------------------------------------------------------------

struct Job {
  const float* x;
  std::int64_t x_stride;
  const WeightRows* w;
  std::int64_t n_begin, n_end;
  float* out;
  std::int64_t out_stride;
  float* scratch;
};

constexpr std::int64_t kScaleRows = 64;  // few rows: weight rows whose scales are widened at a time

// 16 weights of each of R rows times the rows of x at k.
template <class Source, int M, int R, int Half>
inline void fused_step(const Rows& rows, std::int64_t offset,
                       const typename Source::Group (&groups)[R], const float* x,
                       std::int64_t x_stride, V16 (&acc)[M * R]) {
  V16 w[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    w[r] = in_register(
        Source::template values<Half>(rows.values + offset + r * rows.value_stride, groups[r]));
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
    const V16 v = in_register(load(x + m * x_stride + Half * kLanes));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[m * R + r] = fma(w[r], v, acc[m * R + r]);
  }
}

// sums[m * R + r] = dot(x[m], row r).
template <class Source, int M, int R>
void fused_dots(const Job& job, const Rows& rows, float (&sums)[M * R]) {
  const std::int64_t pairs = job.w->cols / (2 * kLanes);
  const std::int64_t group = Source::kAffine ? job.w->group / (2 * kLanes) : pairs;
  const float* x = job.x;
  const std::int64_t x_stride = job.x_stride;
  V16 acc[M * R];
#pragma GCC unroll 32
  for (int i = 0; i < M * R; ++i) acc[i] = zero();
  std::int64_t offset = 0;
  typename Source::Group groups[R] = {};
  for (std::int64_t pair = 0, g = 0; pair < pairs; ++g) {
    if constexpr (Source::kAffine) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        groups[r] = Source::make(rows.scales[g + r * rows.scale_stride],
                                 rows.biases[g + r * rows.scale_stride]);
      }
    }
    for (const std::int64_t end = pair + group; pair < end; ++pair) {
      fused_step<Source, M, R, 0>(rows, offset, groups, x, x_stride, acc);
      fused_step<Source, M, R, 1>(rows, offset, groups, x, x_stride, acc);
      offset += 2 * Source::kStepBytes;
      x += 2 * kLanes;
    }
  }
  if constexpr (!Source::kAffine) {
    int rest = static_cast<int>(job.w->cols - pairs * 2 * kLanes);
    if (rest >= kLanes) {
      fused_step<Source, M, R, 0>(rows, offset, groups, x, x_stride, acc);
      offset += Source::kStepBytes;
      x += kLanes;
      rest -= kLanes;
    }
    if (rest > 0) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const V16 w = Source::part(rows.values + offset + r * rows.value_stride, rest);
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) {
          V16& a = acc[m * R + r];
          a = fma_part(w, load_part(x + m * x_stride, rest), a, rest);
        }
      }
    }
  }
  reduce<M * R>(acc, sums);
}

template <class Source, int M>
void linear_fused(const Job& job) {
  constexpr int R = fused_weight_rows(M);
  for (std::int64_t n = job.n_begin; n < job.n_end; n += kScaleRows) {
    const std::int64_t count = job.n_end - n < kScaleRows ? job.n_end - n : kScaleRows;
    const Rows all = open_rows<Source>(*job.w, n, count, job.scratch);
    // The last R rows may overlap those before. Fewer than R: one at a time, each R times over.
    const bool few = count < R;
    const int width = few ? 1 : R;
    for (std::int64_t i = 0; i < count; i += width) {
      const std::int64_t first = i + width <= count ? i : count - width;
      float sums[M * R];
      Rows rows = all.from(first);
      if (few) rows.value_stride = rows.scale_stride = 0;
      fused_dots<Source, M, R>(job, rows, sums);
      for (int m = 0; m < M; ++m) {
        float* out = job.out + m * job.out_stride + (n - job.n_begin) + first;
        for (int r = 0; r < width; ++r) out[r] = sums[m * R + r];
      }
    }
  }
}

// --- many rows of x --------------------------------------------------------------------

// A tile of decoded weights: panels of kPanelRows rows, each [steps][kPanelRows][16], zeros
// beyond K and beyond the last row.
struct Tile {
  float* weights;
  float* partial;      // [kBlockRowsOfX][kPanelRows][16] for each panel
  std::int64_t steps;  // ceil(K / 16)
  std::int64_t rows;
  float* panel(std::int64_t p) const { return weights + p * steps * kPanelRows * kLanes; }
};

template <class Source>
void pack_row(const WeightRows& w, const Rows& row, float* to) {
  constexpr std::int64_t kStep = kPanelRows * kLanes;
  const std::int64_t pairs = w.cols / (2 * kLanes);
  const std::int64_t group = Source::kAffine ? w.group / (2 * kLanes) : pairs;
  const std::byte* from = row.values;
  typename Source::Group values = {};
  for (std::int64_t pair = 0, g = 0; pair < pairs; ++g) {
    if constexpr (Source::kAffine) values = Source::make(row.scales[g], row.biases[g]);
    for (const std::int64_t end = pair + group; pair < end; ++pair) {
      store(to, Source::template values<0>(from, values));
      store(to + kStep, Source::template values<1>(from, values));
      from += 2 * Source::kStepBytes;
      to += 2 * kStep;
    }
  }
  if constexpr (!Source::kAffine) {
    int rest = static_cast<int>(w.cols - pairs * 2 * kLanes);
    if (rest >= kLanes) {
      store(to, Source::template values<0>(from, values));
      from += Source::kStepBytes;
      to += kStep;
      rest -= kLanes;
    }
    if (rest > 0) store(to, Source::part(from, rest));
  }
}

template <class Source>
void pack_tile(const WeightRows& w, std::int64_t n_begin, const Tile& tile, float* scales) {
  const Rows rows = open_rows<Source>(w, n_begin, tile.rows, scales);
  const std::int64_t padded = (tile.rows + kPanelRows - 1) / kPanelRows * kPanelRows;
  for (std::int64_t r = 0; r < padded; ++r) {
    float* to = tile.panel(r / kPanelRows) + r % kPanelRows * kLanes;
    if (r < tile.rows) {
      pack_row<Source>(w, rows.from(r), to);
    } else {
      for (std::int64_t s = 0; s < tile.steps; ++s) store(to + s * kPanelRows * kLanes, zero());
    }
  }
}

// One pass of the inner kernel over `steps` vectors of k, of which the last has `rest` lanes if
// rest > 0.
struct Pass {
  std::int64_t steps;
  int rest;
  bool first, last;
};

template <int M>
void micro_kernel(const float* x, std::int64_t x_stride, const float* w, const Pass& pass,
                  float* partial, float* sums) {
  constexpr int kCount = M * kPanelRows;
  V16 acc[kCount];
#pragma GCC unroll 32
  for (int i = 0; i < kCount; ++i) acc[i] = pass.first ? zero() : load(partial + i * kLanes);
  const std::int64_t full = pass.rest > 0 ? pass.steps - 1 : pass.steps;
  for (std::int64_t s = 0; s < full; ++s) {
    micro_step<M>(x, x_stride, w, acc);
    x += kLanes;
    w += kPanelRows * kLanes;
  }
  if (pass.rest > 0) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const V16 v = load_part(x + m * x_stride, pass.rest);
#pragma GCC unroll 8
      for (int r = 0; r < kPanelRows; ++r) {
        V16& a = acc[m * kPanelRows + r];
        a = fma_part(load(w + r * kLanes), v, a, pass.rest);
      }
    }
  }
  if (pass.last) {
    reduce<kCount>(acc, sums);
  } else {
#pragma GCC unroll 32
    for (int i = 0; i < kCount; ++i) store(partial + i * kLanes, acc[i]);
  }
}

template <int M>
void micro_block(const Job& job, const Tile& tile, std::int64_t m, std::int64_t block_m,
                 std::int64_t panel, std::int64_t k, const Pass& pass, std::int64_t n) {
  float sums[M * kPanelRows];
  float* partial = tile.partial + (panel * kBlockRowsOfX + m - block_m) * kPanelRows * kLanes;
  micro_kernel<M>(job.x + m * job.x_stride + k, job.x_stride, tile.panel(panel) + k * kPanelRows,
                  pass, partial, sums);
  if (!pass.last) return;
  const std::int64_t left = tile.rows - panel * kPanelRows;
  const std::int64_t valid = left < kPanelRows ? left : kPanelRows;
  for (int i = 0; i < M; ++i) {
    float* out = job.out + (m + i) * job.out_stride + (n - job.n_begin) + panel * kPanelRows;
    for (std::int64_t r = 0; r < valid; ++r) out[r] = sums[i * kPanelRows + r];
  }
}

// All outputs of the tile whose first weight row is n, for m rows of x.
inline void multiply_tile(const Job& job, std::int64_t rows_of_x, const Tile& tile,
                          std::int64_t n) {
  const std::int64_t cols = job.w->cols;
  const std::int64_t panels = (tile.rows + kPanelRows - 1) / kPanelRows;
  for (std::int64_t begin = 0; begin < rows_of_x; begin += kBlockRowsOfX) {
    const std::int64_t end = rows_of_x - begin < kBlockRowsOfX ? rows_of_x : begin + kBlockRowsOfX;
    for (std::int64_t k = 0; k < cols; k += kDepth) {
      const std::int64_t depth = cols - k < kDepth ? cols - k : kDepth;
      const Pass pass = {(depth + kLanes - 1) / kLanes, static_cast<int>(depth % kLanes), k == 0,
                         k + depth == cols};
      for (std::int64_t panel = 0; panel < panels; ++panel) {
        std::int64_t m = begin;
        for (; m + kMicroRows <= end; m += kMicroRows) {
          micro_block<kMicroRows>(job, tile, m, begin, panel, k, pass, n);
        }
        if constexpr (kMicroRows > 2) {
          if (end - m == 2) micro_block<2>(job, tile, m, begin, panel, k, pass, n);
        }
        if (end - m == 1) micro_block<1>(job, tile, m, begin, panel, k, pass, n);
      }
    }
  }
}

template <class Source>
void linear_tiled(const Job& job, std::int64_t rows_of_x) {
  const std::int64_t steps = (job.w->cols + kLanes - 1) / kLanes;
  const std::int64_t panel_floats = steps * kLanes * kPanelRows;
  std::int64_t panels = panel_floats > 0 ? kTileFloats / panel_floats : 1;
  panels = panels < 1 ? 1 : panels > kTilePanels ? kTilePanels : panels;
  Tile tile;
  tile.steps = steps;
  tile.partial = job.scratch;
  tile.weights = tile.partial + kTilePanels * kBlockRowsOfX * kPanelRows * kLanes;
  float* scales = tile.weights + panels * panel_floats;
  for (std::int64_t n = job.n_begin; n < job.n_end; n += tile.rows) {
    const std::int64_t left = job.n_end - n;
    tile.rows = left < panels * kPanelRows ? left : panels * kPanelRows;
    pack_tile<Source>(*job.w, n, tile, scales);
    multiply_tile(job, rows_of_x, tile, n);
  }
}

// --- choice ----------------------------------------------------------------------------

template <class Source, int M = 1>
void linear_from(const Job& job, std::int64_t rows_of_x) {
  if constexpr (M <= kFusedRowsOfX) {
    if (rows_of_x == M) return linear_fused<Source, M>(job);
    return linear_from<Source, M + 1>(job, rows_of_x);
  } else {
    linear_tiled<Source>(job, rows_of_x);
  }
}

inline void linear(const float* x, std::int64_t m, std::int64_t x_stride, const WeightRows& w,
                   std::int64_t n_begin, std::int64_t n_end, float* out, std::int64_t out_stride,
                   float* scratch) {
  if (m < 1) return;
  const Job job = {x, x_stride, &w, n_begin, n_end, out, out_stride, scratch};
  switch (w.kind) {
    case WeightKind::kF32:
      return linear_from<F32Source>(job, m);
    case WeightKind::kF16:
      return linear_from<F16Source>(job, m);
    case WeightKind::kBF16:
      return linear_from<BF16Source>(job, m);
    case WeightKind::kAffine:
      break;
  }
  switch (w.bits) {
    case 2:
      return linear_from<AffineSource<2>>(job, m);
    case 3:
      return linear_from<AffineSource<3>>(job, m);
    case 4:
      return linear_from<AffineSource<4>>(job, m);
    case 5:
      return linear_from<AffineSource<5>>(job, m);
    case 6:
      return linear_from<AffineSource<6>>(job, m);
    default:
      return linear_from<AffineSource<8>>(job, m);
  }
}

}  // namespace
}  // namespace qx
