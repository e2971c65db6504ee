// The left side of linear layers: rows of activations as float32 and, where a precision asks for
// integer or bfloat16 products, also as integers or rounded, prepared once for all layers that read
// them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>

#include "base/thread_pool.h"
#include "kernels/api.h"
#include "model/buffer.h"
#include "model/model.h"
#include "model/weights.h"

namespace qx {

// Part of a product: rows [m_begin, m_end) of x, rows [n_begin, n_end) of the weights.
struct TileRange {
  std::int64_t m_begin, m_end, n_begin, n_end;
};

// Calls body(tile, worker) for tiles that cover [0, rows) x [0, outputs); no tile crosses a
// multiple of kTileOutputs, none has more than kTileRows rows.
constexpr std::int64_t kTileOutputs = 96;  // a multiple of the kernels' 24 and 32
constexpr std::int64_t kTileRows = 512;
void for_each_tile(ThreadPool& pool, std::int64_t rows, std::int64_t outputs,
                   const std::function<void(const TileRange&, int)>& body);

class LinearInput {
 public:
  // x: [rows, cols] float32, contiguous; it must stay as it is while this is used. readers: the
  // layers that will multiply it, all with cols columns. Precision reference: nothing is computed.
  void prepare(ThreadPool& pool, Precision precision, const float* x, std::int64_t rows,
               std::int64_t cols, std::initializer_list<const Linear*> readers);

  // out[(m - t.m_begin) * out_stride + (n - t.n_begin)] = x[m] . w[n] + bias[n]. linear is one of
  // the readers. scratch: linear_scratch_floats(cols) floats, 64-byte aligned. Any thread.
  void multiply(const Linear& linear, const TileRange& t, float* out, std::int64_t out_stride,
                float* scratch) const;

 private:
  // Integers for one size of groups.
  struct Integers {
    IntegerRows rows;
    ByteBuffer codes;
    FloatBuffer scales, sums;
    Buffer<ApartElement> apart;
    Buffer<std::int32_t> apart_counts;
  };
  void quantize(ThreadPool& pool, int planes, int group);
  void round(ThreadPool& pool);
  // body(m) for every row, on several threads where that pays.
  void for_each_row(ThreadPool& pool, const std::function<void(std::int64_t)>& body) const;

  const float* x_ = nullptr;
  std::int64_t rows_ = 0, cols_ = 0;
  Precision precision_ = Precision::kReference;
  std::array<Integers, 3> integers_;  // groups of 32, 64, 128
  // x rounded to bfloat16: as such where the kernels multiply that, otherwise as float32.
  std::int64_t half_stride_ = 0;
  Buffer<std::uint16_t> halves_;
  FloatBuffer rounded_;
};

}  // namespace qx
