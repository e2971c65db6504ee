// SPDX-License-Identifier: Apache-2.0
#include "sensitivity/gradient_samples.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "fit/calibration_file.h"
#include "kernels/api.h"

namespace qx {
namespace {

constexpr std::int64_t kFewestRows = 64, kShareOfRows = 4;

// Seeds of neighbouring windows and tokens must not give shifted copies of one sequence.
std::uint64_t mix(std::uint64_t seed, std::uint64_t value) {
  return Random(seed ^ (value + 1) * 0x9E3779B97F4A7C15ull).next();
}

}  // namespace

std::string input_of(MatrixPlace place) {
  CatalogTensor tensor;
  tensor.role = place.role;
  tensor.layer = static_cast<int>(place.layer);
  return linear_input_of(tensor, false);
}

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
  if (matrix.rows.empty()) {
    matrix.rows = sampled_rows(g.out);
    matrix.row_squares.resize(static_cast<std::size_t>(g.out));
  }
  double total = 0;
  for (std::int64_t m = 0; m < g.rows; ++m) {
    const float* row = g.output_gradients + m * g.out;
    for (std::int64_t j = 0; j < g.out; ++j) {
      const double square = static_cast<double>(row[j]) * static_cast<double>(row[j]);
      matrix.row_squares[static_cast<std::size_t>(j)] += square;
      total += square;
    }
  }
  if (!std::isfinite(total)) {
    fail(fmt::format("layer {}, {}", g.place.layer, role_name(g.place.role)),
         "got gradients that are not finite, expected finite ones");
  }
  matrix.squares += total;
  matrix.tokens += g.rows;
  const std::vector<std::int64_t> kept = spread(g.rows, tokens_);
  for (const std::int64_t m : kept) {
    for (const std::int64_t j : matrix.rows) {
      matrix.slopes.push_back(g.output_gradients[m * g.out + j]);
    }
  }
  // One copy of what several matrices read.
  if (g.place.role == Role::kMlpUp || g.place.role == Role::kAttentionK ||
      g.place.role == Role::kAttentionV) {
    return;
  }
  std::vector<float>& inputs = inputs_[input_of(g.place)];
  for (const std::int64_t m : kept) {
    inputs.insert(inputs.end(), g.inputs + m * g.in, g.inputs + (m + 1) * g.in);
  }
  samples_ = static_cast<std::int64_t>(inputs.size()) / g.in;
}

double SampledLogProbability::operator()(std::span<float> logits) const {
  const std::int64_t rows = static_cast<std::int64_t>(logits.size()) / vocab_;
  std::vector<double> losses(static_cast<std::size_t>(rows));
  const std::uint64_t window_seed = mix(seed_, window_);
  pool_.parallel_for(static_cast<std::size_t>(rows), 1,
                     [&](std::size_t begin, std::size_t end, int) {
                       for (std::size_t m = begin; m < end; ++m) {
                         float* row = logits.data() + static_cast<std::int64_t>(m) * vocab_;
                         kernels().softmax_unnormalized(row, vocab_);
                         double sum = 0;
                         for (std::int64_t v = 0; v < vocab_; ++v)
                           sum += static_cast<double>(row[v]);
                         const double point = Random(mix(window_seed, m)).uniform() * sum;
                         std::int64_t drawn = 0;
                         double passed = static_cast<double>(row[0]);
                         while (passed <= point && drawn + 1 < vocab_)
                           passed += static_cast<double>(row[++drawn]);
                         losses[m] = std::log(static_cast<double>(row[drawn]) / sum);
                         const auto scale = static_cast<float>(-1.0 / sum);
                         for (std::int64_t v = 0; v < vocab_; ++v) row[v] *= scale;
                         row[drawn] += 1.0f;
                       }
                     });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace qx
