// linear(), written once over 16-lane vectors; included like math_vector_inl.h, with the same rules. Two ways, chosen by
// the number of rows of x:
//   few rows   every 16 weights are decoded into a register and used at once for all rows of x;
//   many rows  a tile of weight rows is decoded into scratch, as panels [K / 16][kPanelRows][16] for the inner
//              kernel to read in one stream, and used for blocks of x that stay in the second-level cache.
// Both keep one 16-lane partial sum per output and add to it in rising k, so they give the same bits.
//
// Beyond the operations of math_vector_inl.h the including file defines
//   kFusedRowsOfX          largest M of the first way;   fused_weight_rows(M): weight rows at a time there
//   kPanelRows, kMicroRows the inner kernel's block: weight rows x rows of x
//   kDepth                 k per pass of the inner kernel: a panel of that depth stays in the first-level cache
//   Codes<bits>            Group make(scale, bias); V16 values(16 packed codes, group): fma(scale, code, bias)
//   load_f16 load_bf16 load_f16_part load_bf16_part: 16 values widened to float32, from any byte address
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/math_vector_inl.h"

namespace qx {
namespace {

constexpr std::int64_t kBlockRowsOfX = 64;        // many rows: rows of x per block
constexpr std::int64_t kTilePanels = 3;           // panels decoded at a time
constexpr std::int64_t kTileFloats = 192 * 1024;  // unless a tile would exceed this; then fewer

// --- decoders: how 16 values of a row are read --------------------------------------------------------

struct F32Source {
  static constexpr bool kAffine = false;
  static constexpr std::int64_t kStepBytes = 64;
  struct Group {};
  static Group make(float, float) { return {}; }
  static V16 values(const std::byte* p, const Group&) { return load_bytes(p); }
  static V16 part(const std::byte* p, int n) { return load_bytes_part(p, n); }
};
struct F16Source {
  static constexpr bool kAffine = false;
  static constexpr std::int64_t kStepBytes = 32;
  struct Group {};
  static Group make(float, float) { return {}; }
  static V16 values(const std::byte* p, const Group&) { return load_f16(p); }
  static V16 part(const std::byte* p, int n) { return load_f16_part(p, n); }
};
struct BF16Source {
  static constexpr bool kAffine = false;
  static constexpr std::int64_t kStepBytes = 32;
  struct Group {};
  static Group make(float, float) { return {}; }
  static V16 values(const std::byte* p, const Group&) { return load_bf16(p); }
  static V16 part(const std::byte* p, int n) { return load_bf16_part(p, n); }
};
template <int Bits>
struct AffineSource : Codes<Bits> {
  static constexpr bool kAffine = true;
  static constexpr std::int64_t kStepBytes = 2 * Bits;
  static V16 part(const std::byte*, int) { return zero(); }  // never: K is a multiple of 32
};

// One weight row, its scales and biases widened.
struct Row {
  const std::byte* values;
  const float* scales;
  const float* biases;
};

template <class Source>
void widen_with(const std::byte* from, std::int64_t n, float* to) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    store(to + i, Source::values(from + i / kLanes * Source::kStepBytes, {}));
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

// Uses 2 * K / group floats of scratch for an affine row and none for a float row.
template <class Source>
Row open_row(const WeightRows& w, std::int64_t n, float* scratch) {
  if constexpr (Source::kAffine) {
    const std::int64_t groups = w.cols / w.group;
    const std::int64_t bytes = groups * (w.scale_kind == ScaleKind::kF32 ? 4 : 2);
    widen(w.scale_kind, w.scales + n * bytes, groups, scratch);
    widen(w.scale_kind, w.biases + n * bytes, groups, scratch + groups);
    return {w.values + n * (w.cols / kLanes * Source::kStepBytes), scratch, scratch + groups};
  } else {
    return {w.values + n * (w.cols * Source::kStepBytes / kLanes), nullptr, nullptr};
  }
}

// --- few rows of x ------------------------------------------------------------------------------------

struct Job {
  const float* x;
  std::int64_t x_stride;
  const WeightRows* w;
  std::int64_t n_begin, n_end;
  float* out;
  std::int64_t out_stride;
  float* scratch;
};

// sums[m * R + r] = dot(x[m], row[r]).
template <class Source, int M, int R>
void fused_dots(const Job& job, const Row (&row)[R], float (&sums)[M * R]) {
  const std::int64_t full = job.w->cols / kLanes * kLanes;
  const std::int64_t group = Source::kAffine ? job.w->group : full;
  const float* x = job.x;
  const std::int64_t x_stride = job.x_stride;
  V16 acc[M * R];
#pragma GCC unroll 32
  for (int i = 0; i < M * R; ++i) acc[i] = zero();
  std::int64_t offset = 0;
  for (std::int64_t k = 0, g = 0; k < full; ++g) {
    typename Source::Group groups[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      if constexpr (Source::kAffine) groups[r] = Source::make(row[r].scales[g], row[r].biases[g]);
    }
    for (const std::int64_t end = k + group; k < end; k += kLanes, offset += Source::kStepBytes) {
      V16 w[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) w[r] = Source::values(row[r].values + offset, groups[r]);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const V16 v = load(x + m * x_stride + k);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) acc[m * R + r] = fma(w[r], v, acc[m * R + r]);
      }
    }
  }
  const int rest = static_cast<int>(job.w->cols - full);
  if (rest > 0) {
    for (int r = 0; r < R; ++r) {
      const V16 w = Source::part(row[r].values + offset, rest);
      for (int m = 0; m < M; ++m) {
        V16& a = acc[m * R + r];
        a = fma_part(w, load_part(x + m * x_stride + full, rest), a, rest);
      }
    }
  }
  reduce<M * R>(acc, sums);
}

template <class Source, int M>
void linear_fused(const Job& job) {
  constexpr int kRows = fused_weight_rows(M);
  const std::int64_t scale_floats = Source::kAffine ? 2 * (job.w->cols / job.w->group) : 0;
  for (std::int64_t n = job.n_begin; n < job.n_end; n += kRows) {
    Row row[kRows];
    for (int r = 0; r < kRows; ++r) {
      // Past the end the last row is taken again and its result dropped.
      const std::int64_t index = n + r < job.n_end ? n + r : job.n_end - 1;
      row[r] = open_row<Source>(*job.w, index, job.scratch + r * scale_floats);
    }
    float sums[M * kRows];
    fused_dots<Source, M, kRows>(job, row, sums);
    const int valid = static_cast<int>(job.n_end - n < kRows ? job.n_end - n : kRows);
    for (int m = 0; m < M; ++m) {
      float* out = job.out + m * job.out_stride + (n - job.n_begin);
      for (int r = 0; r < valid; ++r) out[r] = sums[m * kRows + r];
    }
  }
}

// --- many rows of x -----------------------------------------------------------------------------------

// A tile of decoded weights: panels of kPanelRows rows, each [steps][kPanelRows][16], zeros beyond K and beyond
// the last row.
struct Tile {
  float* weights;
  float* partial;      // [kBlockRowsOfX][kPanelRows][16] for each panel
  std::int64_t steps;  // ceil(K / 16)
  std::int64_t rows;
  float* panel(std::int64_t p) const { return weights + p * steps * kPanelRows * kLanes; }
};

template <class Source>
void pack_row(const WeightRows& w, const Row& row, float* to) {
  const std::int64_t full = w.cols / kLanes * kLanes;
  const std::int64_t group = Source::kAffine ? w.group : full;
  const std::byte* from = row.values;
  for (std::int64_t k = 0, g = 0; k < full; ++g) {
    typename Source::Group values = {};
    if constexpr (Source::kAffine) values = Source::make(row.scales[g], row.biases[g]);
    for (const std::int64_t end = k + group; k < end; k += kLanes) {
      store(to, Source::values(from, values));
      from += Source::kStepBytes;
      to += kPanelRows * kLanes;
    }
  }
  const int rest = static_cast<int>(w.cols - full);
  if (rest > 0) store(to, Source::part(from, rest));
}

template <class Source>
void pack_tile(const WeightRows& w, std::int64_t n_begin, const Tile& tile, float* scales) {
  const std::int64_t padded = (tile.rows + kPanelRows - 1) / kPanelRows * kPanelRows;
  for (std::int64_t r = 0; r < padded; ++r) {
    float* to = tile.panel(r / kPanelRows) + r % kPanelRows * kLanes;
    if (r < tile.rows) {
      pack_row<Source>(w, open_row<Source>(w, n_begin + r, scales), to);
    } else {
      for (std::int64_t s = 0; s < tile.steps; ++s) store(to + s * kPanelRows * kLanes, zero());
    }
  }
}

// One pass of the inner kernel over `steps` vectors of k, of which the last has `rest` lanes if rest > 0.
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
    V16 v[M];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) v[m] = load(x + m * x_stride);
#pragma GCC unroll 8
    for (int r = 0; r < kPanelRows; ++r) {
      const V16 weight = load(w + r * kLanes);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
        acc[m * kPanelRows + r] = fma(weight, v[m], acc[m * kPanelRows + r]);
    }
    x += kLanes;
    w += kPanelRows * kLanes;
  }
  if (pass.rest > 0) {
    for (int m = 0; m < M; ++m) {
      const V16 v = load_part(x + m * x_stride, pass.rest);
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

// --- choice -------------------------------------------------------------------------------------------

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
