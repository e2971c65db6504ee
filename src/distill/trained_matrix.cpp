// SPDX-License-Identifier: Apache-2.0
#include "distill/trained_matrix.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "base/error.h"
#include "quant/affine.h"
#include "quant/group_fit.h"

namespace qx {
namespace {

constexpr std::int64_t kMaxGroupCodes = 128;

DType dtype_of(ScaleKind kind) {
  if (kind == ScaleKind::kBF16) return DType::kBF16;
  return kind == ScaleKind::kF16 ? DType::kF16 : DType::kF32;
}

std::vector<float> load_all(DType dtype, const std::byte* stored, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  load_floats(dtype, stored, 0, values);
  return values;
}

}  // namespace

TrainedMatrix::TrainedMatrix(const WeightRows& rows)
    : rows_(rows), dtype_(dtype_of(rows.scale_kind)) {
  QX_CHECK(rows.kind == WeightKind::kAffine && rows.group <= kMaxGroupCodes);
  top_ = static_cast<float>((1 << rows.bits) - 1);
  const std::int64_t count = rows.rows * (rows.cols / rows.group);
  const std::vector<float> scales = load_all(dtype_, rows.scales, count);
  const std::vector<float> biases = load_all(dtype_, rows.biases, count);
  scale_.resize(scales.size());
  centre_.resize(scales.size());
  first_scale_ = scales;
  for (std::size_t i = 0; i < scales.size(); ++i) {
    scale_[i].value = scales[i];
    centre_[i].value = biases[i] + scales[i] * (top_ / 2);
  }
  const std::size_t bytes = scales.size() * dtype_bytes(dtype_);
  scales_.assign(rows.scales, rows.scales + bytes);
  biases_.assign(rows.biases, rows.biases + bytes);
  rows_.scales = scales_.data();
  rows_.biases = biases_.data();
}

void TrainedMatrix::add_gradient(std::int64_t first, std::int64_t count, const float* values) {
  const std::int64_t in_row = rows_.cols / rows_.group;
  const std::int64_t code_bytes = code_bytes_per_row(rows_.cols, rows_.bits);
  std::array<std::uint8_t, kMaxGroupCodes> codes;
  for (std::int64_t r = first; r < first + count; ++r) {
    const std::byte* packed = rows_.values + r * code_bytes;
    for (std::int64_t g = 0; g < in_row; ++g) {
      unpack_codes(packed + g * rows_.group / 8 * rows_.bits, rows_.group, rows_.bits,
                   codes.data());
      double all = 0, by_code = 0;
      for (std::int64_t k = 0; k < rows_.group; ++k) {
        const auto slope = static_cast<double>(values[k]);
        all += slope;
        by_code += slope * static_cast<double>(codes[static_cast<std::size_t>(k)]);
      }
      values += rows_.group;
      const auto at = static_cast<std::size_t>(r * in_row + g);
      scale_[at].slope += static_cast<float>(by_code - all * static_cast<double>(top_ / 2));
      centre_[at].slope += static_cast<float>(all);
    }
  }
}

void TrainedMatrix::step(AdamStep adam) {
  const auto t = static_cast<double>(adam.step);
  const double mean_start = 1 - std::pow(kAdamMeanDecay, t);
  const double square_start = 1 - std::pow(kAdamSquareDecay, t);
  const auto change = [&](Parameter& p, double unit) {
    const auto slope = static_cast<double>(p.slope);
    p.slope = 0;
    p.mean = static_cast<float>(kAdamMeanDecay * static_cast<double>(p.mean) +
                                (1 - kAdamMeanDecay) * slope);
    p.square = static_cast<float>(kAdamSquareDecay * static_cast<double>(p.square) +
                                  (1 - kAdamSquareDecay) * slope * slope);
    const double size = std::sqrt(static_cast<double>(p.square) / square_start) + kAdamEpsilon;
    p.value -=
        static_cast<float>(adam.rate * unit * (static_cast<double>(p.mean) / mean_start) / size);
  };
  const double spread = static_cast<double>(top_) / std::sqrt(12.0);
  for (std::int64_t group = 0; group < groups(); ++group) {
    const auto at = static_cast<std::size_t>(group);
    const float first = first_scale_[at];
    if (first == 0) continue;
    const double unit = std::abs(static_cast<double>(first));
    change(centre_[at], unit);
    change(scale_[at], unit / spread);
    const float half = first * 0.5f, twice = first * 2.0f;
    scale_[at].value = std::clamp(scale_[at].value, std::min(half, twice), std::max(half, twice));
    store(group);
  }
}

void TrainedMatrix::store(std::int64_t group) {
  const auto at = static_cast<std::size_t>(group);
  const float scale = round_to(dtype_, scale_[at].value);
  const float bias = centre_[at].value - scale_[at].value * (top_ / 2);
  store_floats(dtype_, {&scale, 1}, scales_.data() + at * dtype_bytes(dtype_));
  store_floats(dtype_, {&bias, 1}, biases_.data() + at * dtype_bytes(dtype_));
}

void TrainedMatrix::restore(const std::vector<std::byte>& scales,
                            const std::vector<std::byte>& biases) {
  QX_CHECK(scales.size() == scales_.size() && biases.size() == biases_.size());
  std::copy(scales.begin(), scales.end(), scales_.begin());
  std::copy(biases.begin(), biases.end(), biases_.begin());
}

}  // namespace qx
