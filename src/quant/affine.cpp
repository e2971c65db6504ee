// SPDX-License-Identifier: Apache-2.0
#include "quant/affine.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kernels/api.h"
#include "quant/kernel_kinds.h"

namespace qx {
namespace {

// Values widened at a time: a multiple of every group, small enough for the first-level cache.
constexpr std::int64_t kChunk = 4096;

// Asks for bytes that will be read soon. The processor's own prefetching stops at the end of a page.
void prefetch(const std::byte* begin, const std::byte* end) {
#if defined(__GNUC__)
  for (; begin < end; begin += 64) __builtin_prefetch(begin);
#endif
}

}  // namespace

bool is_valid(const AffineSpec& spec) {
  constexpr int kBits[] = {2, 3, 4, 5, 6, 8};
  constexpr int kGroups[] = {32, 64, 128};
  return std::find(std::begin(kBits), std::end(kBits), spec.bits) != std::end(kBits) &&
         std::find(std::begin(kGroups), std::end(kGroups), spec.group) != std::end(kGroups);
}

std::int64_t affine_bytes(MatrixShape shape, AffineSpec spec, DType scale_dtype) {
  const std::int64_t parameters = 2 * groups_per_row(shape.cols, spec.group) *
                                  static_cast<std::int64_t>(dtype_bytes(scale_dtype));
  return shape.rows * (code_bytes_per_row(shape.cols, spec.bits) + parameters);
}

std::optional<AffineSpec> infer_affine_spec(std::int64_t packed_words, std::int64_t groups,
                                            std::int64_t logical_cols) {
  if (packed_words <= 0 || groups <= 0 || logical_cols <= 0) return std::nullopt;
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int group : {32, 64, 128}) {
      // Divisions, so that hostile sizes cannot overflow.
      if (logical_cols % group != 0 || logical_cols / group != groups) continue;
      if (packed_words % bits == 0 && logical_cols / 32 == packed_words / bits) {
        return AffineSpec{bits, group};
      }
    }
  }
  return std::nullopt;
}

std::optional<std::int64_t> encode_rows(DType dtype, const std::byte* values, MatrixShape shape,
                                        AffineSpec spec, Rounding rounding, AffineOut out) {
  QX_CHECK(is_valid(spec) && shape.cols % spec.group == 0);
  const KernelTable& table = kernels();
  const ScaleKind kind = scale_kind_of(dtype);
  // Rows follow each other without gaps in all four arrays and end with whole groups, so the matrix is
  // one long row.
  const std::int64_t count = shape.rows * shape.cols;
  const WeightRows source{
      .kind = weight_kind_of(dtype), .rows = 1, .cols = count, .values = values};
  const auto scale_bytes = static_cast<std::int64_t>(dtype_bytes(dtype));
  alignas(64) float chunk[kChunk];
  for (std::int64_t begin = 0; begin < count; begin += kChunk) {
    const std::int64_t n = std::min(kChunk, count - begin);
    table.decode_row(source, 0, begin, n, chunk);
    prefetch(values + (begin + n) * scale_bytes,
             values + std::min(begin + n + kChunk, count) * scale_bytes);
    const std::int64_t group = begin / spec.group;
    const bool finite =
        table.affine_encode_row(chunk, n, spec.bits, spec.group, rounding == Rounding::kGpu, kind,
                                out.codes + code_bytes_per_row(begin, spec.bits),
                                out.scales + group * scale_bytes, out.biases + group * scale_bytes);
    if (finite) continue;
    const float* bad = std::find_if_not(chunk, chunk + n, [](float x) { return std::isfinite(x); });
    QX_CHECK(bad != chunk + n);
    return begin + (bad - chunk);
  }
  return std::nullopt;
}

bool encode_group(const float* values, AffineSpec spec, DType dtype, std::byte* codes,
                  std::byte* scale, std::byte* bias) {
  return !kernels().affine_encode_row(values, spec.group, spec.bits, spec.group, false,
                                      scale_kind_of(dtype), codes, scale, bias);
}

void decode_rows(const AffineView& view, RowRange range, std::span<float> out) {
  QX_CHECK(is_valid(view.spec) && view.shape.cols % view.spec.group == 0);
  QX_CHECK(range.begin >= 0 && range.end <= view.shape.rows);
  QX_CHECK(static_cast<std::int64_t>(out.size()) == (range.end - range.begin) * view.shape.cols);
  const WeightRows source{.kind = WeightKind::kAffine,
                          .scale_kind = scale_kind_of(view.scale_dtype),
                          .bits = view.spec.bits,
                          .group = view.spec.group,
                          .rows = view.shape.rows,
                          .cols = view.shape.cols,
                          .values = view.codes,
                          .scales = view.scales,
                          .biases = view.biases};
  for (std::int64_t row = range.begin; row < range.end; ++row) {
    kernels().decode_row(source, row, 0, view.shape.cols,
                         out.data() + (row - range.begin) * view.shape.cols);
  }
}

}  // namespace qx
