// SPDX-License-Identifier: Apache-2.0
#include "model/linear_input.h"

#include <algorithm>

#include "base/error.h"
#include "base/half.h"

namespace qx {
namespace {

constexpr std::int64_t kShortTileRows = 64;
constexpr std::int64_t kTilesPerThread = 4;
// Values that are worth waking another thread for.
constexpr std::int64_t kInlineValues = std::int64_t{1} << 13;

std::size_t index_of(int group) {
  QX_CHECK(group == 32 || group == 64 || group == 128);
  return group == 32 ? 0 : group == 64 ? 1 : 2;
}

// IEEE half and float32 weights are not bfloat16 values: they are multiplied as they are.
bool takes_rounded(Precision precision, const WeightRows& w) {
  return precision == Precision::kFast && w.kind == WeightKind::kBF16;
}

// Rows that lie an odd number of cache lines apart do not compete for the same sets.
std::int64_t odd_lines(std::int64_t bytes) {
  return bytes / 64 % 2 == 0 ? bytes + 64 : bytes;
}

}  // namespace

void for_each_tile(ThreadPool& pool, std::int64_t rows, std::int64_t outputs,
                   const std::function<void(const TileRange&, int)>& body) {
  const std::int64_t across = (outputs + kTileOutputs - 1) / kTileOutputs;
  // Tall tiles unpack weights less often; few of them leave threads without work.
  std::int64_t tall = kTileRows;
  while (tall > kShortTileRows &&
         (rows + tall - 1) / tall * across < kTilesPerThread * pool.threads()) {
    tall /= 2;
  }
  const auto tiles = static_cast<std::size_t>((rows + tall - 1) / tall * across);
  // Neighbours in this order share their input rows.
  pool.parallel_for(tiles, 1, [&](std::size_t begin, std::size_t end, int worker) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::int64_t m = static_cast<std::int64_t>(i) / across * tall;
      const std::int64_t n = static_cast<std::int64_t>(i) % across * kTileOutputs;
      body({m, std::min(rows, m + tall), n, std::min(outputs, n + kTileOutputs)}, worker);
    }
  });
}

void LinearInput::prepare(ThreadPool& pool, Precision precision, const float* x, std::int64_t rows,
                          std::int64_t cols, std::initializer_list<const Linear*> readers) {
  x_ = x;
  rows_ = rows;
  cols_ = cols;
  precision_ = precision;
  if (precision == Precision::kReference) return;
  bool wanted[3] = {}, wants_rounded = false;
  for (const Linear* reader : readers) {
    QX_CHECK(reader->rows.cols == cols);
    if (reader->rows.kind == WeightKind::kAffine) wanted[index_of(reader->rows.group)] = true;
    if (takes_rounded(precision, reader->rows)) wants_rounded = true;
  }
  for (const int group : {32, 64, 128}) {
    if (wanted[index_of(group)]) quantize(pool, precision == Precision::kExact ? 2 : 1, group);
  }
  if (wants_rounded) round(pool);
}

void LinearInput::for_each_row(ThreadPool& pool,
                               const std::function<void(std::int64_t)>& body) const {
  const auto some = [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t m = begin; m < end; ++m) body(static_cast<std::int64_t>(m));
  };
  const auto count = static_cast<std::size_t>(rows_);
  if (rows_ * cols_ <= kInlineValues) {
    some(0, count, 0);
  } else {
    const std::int64_t grain = std::max<std::int64_t>(1, kInlineValues / 4 / cols_);
    pool.parallel_for(count, static_cast<std::size_t>(grain), some);
  }
}

void LinearInput::quantize(ThreadPool& pool, int planes, int group) {
  Integers& to = integers_[index_of(group)];
  const std::int64_t row_bytes = odd_lines(planes * plane_bytes(cols_));
  const std::int64_t stride = padded_groups(cols_, group);
  const std::int64_t most = planes == 2 ? most_apart(cols_, group) : 0;
  to.rows = {planes,
             group,
             cols_,
             row_bytes,
             stride,
             to.codes.reserve(rows_ * row_bytes),
             to.scales.reserve(rows_ * stride),
             to.sums.reserve(rows_ * stride),
             most,
             to.apart.reserve(rows_ * most),
             to.apart_counts.reserve(rows_)};
  const KernelTable& table = kernels();
  for_each_row(pool, [&](std::int64_t m) {
    to.rows.apart_counts[m] = table.quantize_row(
        x_ + m * cols_, cols_, group, planes, to.rows.codes + m * row_bytes,
        to.rows.scales + m * stride, to.rows.sums + m * stride, to.rows.apart + m * most);
  });
}

void LinearInput::round(ThreadPool& pool) {
  const KernelTable& table = kernels();
  if (table.linear_bf16 != nullptr) {
    half_stride_ = odd_lines(2 * padded_bf16(cols_)) / 2;
    std::uint16_t* to = halves_.reserve(rows_ * half_stride_);
    for_each_row(pool, [&](std::int64_t m) {
      table.round_bf16(x_ + m * cols_, cols_, to + m * half_stride_);
    });
  } else {
    float* to = rounded_.reserve(rows_ * cols_);
    for_each_row(pool, [&](std::int64_t m) {
      for (std::int64_t k = m * cols_; k < (m + 1) * cols_; ++k) {
        to[k] = bf16_to_f32(f32_to_bf16(x_[k]));
      }
    });
  }
}

void LinearInput::multiply(const Linear& linear, const TileRange& t, float* out,
                           std::int64_t out_stride, float* scratch) const {
  const WeightRows& w = linear.rows;
  const KernelTable& table = kernels();
  if (precision_ != Precision::kReference && w.kind == WeightKind::kAffine) {
    table.linear_integer(integers_[index_of(w.group)].rows, t.m_begin, t.m_end, w, t.n_begin,
                         t.n_end, out, out_stride, scratch);
  } else if (takes_rounded(precision_, w) && table.linear_bf16 != nullptr) {
    table.linear_bf16(halves_.data() + t.m_begin * half_stride_, t.m_end - t.m_begin, half_stride_,
                      w, t.n_begin, t.n_end, out, out_stride, scratch);
  } else {
    const float* x = takes_rounded(precision_, w) ? rounded_.data() : x_;
    table.linear(x + t.m_begin * cols_, t.m_end - t.m_begin, cols_, w, t.n_begin, t.n_end, out,
                 out_stride, scratch);
  }
  if (linear.bias.empty()) return;
  for (std::int64_t m = 0; m < t.m_end - t.m_begin; ++m) {
    table.add(out + m * out_stride, linear.bias.data() + t.n_begin, t.n_end - t.n_begin);
  }
}

}  // namespace qx
