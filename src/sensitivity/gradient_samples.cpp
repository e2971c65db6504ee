// SPDX-License-Identifier: Apache-2.0
#include "sensitivity/gradient_samples.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "fit/calibration_file.h"

namespace qx {
namespace {

constexpr std::int64_t kFewestRows = 64, kShareOfRows = 4;

}  // namespace

std::vector<std::int64_t> spread(std::int64_t n, std::int64_t count) {
  const std::int64_t taken = std::min(n, count);
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < taken; ++i) out.push_back((2 * i + 1) * n / (2 * taken));
  return out;
}

std::vector<std::int64_t> sampled_rows(std::int64_t rows) {
  return spread(rows, std::max(kFewestRows, rows / kShareOfRows));
}

void GradientSamples::observe(const MatrixGradient& g) {
  if (g.place.role == Role::kEmbedding || g.place.role == Role::kHead) return;
  Matrix& matrix = matrices_[g.place];
  if (matrix.rows.empty()) matrix.rows = sampled_rows(g.out);
  matrix.outputs = g.out;
  matrix.tokens += g.rows;
  std::vector<double> squares(static_cast<std::size_t>(g.out));
  for (std::int64_t m = 0; m < g.rows; ++m) {
    const float* row = g.output_gradients + m * g.out;
    for (std::int64_t j = 0; j < g.out; ++j) {
      squares[static_cast<std::size_t>(j)] +=
          static_cast<double>(row[j]) * static_cast<double>(row[j]);
    }
  }
  const double total = std::accumulate(squares.begin(), squares.end(), 0.0);
  if (!std::isfinite(total)) {
    fail(fmt::format("layer {}, {}", g.place.layer, role_name(g.place.role)),
         "got gradients that are not finite, expected finite ones");
  }
  matrix.squares += total;
  for (const std::int64_t j : matrix.rows) {
    matrix.row_squares += squares[static_cast<std::size_t>(j)];
  }
  std::vector<std::int64_t> kept = {0};
  for (const std::int64_t m : spread(g.rows - 1, tokens_ - 1)) kept.push_back(m + 1);
  const double others = static_cast<double>(g.rows - 1) / static_cast<double>(kept.size() - 1);
  for (const std::int64_t m : kept) {
    const auto weight = static_cast<float>(m == 0 ? 1.0 : std::sqrt(others));
    for (const std::int64_t j : matrix.rows) {
      const float slope = weight * g.output_gradients[m * g.out + j];
      matrix.slopes.push_back(slope);
      matrix.kept_squares += static_cast<double>(slope) * static_cast<double>(slope);
    }
  }
  // One copy of what several matrices read.
  if (g.place.role == Role::kMlpUp || g.place.role == Role::kAttentionK ||
      g.place.role == Role::kAttentionV) {
    return;
  }
  std::vector<float>& inputs = inputs_[linear_input_of(g.place.role, g.place.layer, false)];
  for (const std::int64_t m : kept) {
    inputs.insert(inputs.end(), g.inputs + m * g.in, g.inputs + (m + 1) * g.in);
  }
}

}  // namespace qx
