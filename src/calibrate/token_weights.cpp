// SPDX-License-Identifier: Apache-2.0
#include "calibrate/token_weights.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace qx {
namespace {

double sum_of_squares(const float* values, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  return sum;
}

}  // namespace

TokenWeights::TokenWeights(std::span<const LinearInputShape> inputs, std::int64_t rows,
                           ThreadPool& pool)
    : pool_(pool) {
  const auto count = static_cast<std::size_t>(rows);
  for (const LinearInputShape& input : inputs) {
    rows_[input.name] = {std::vector<float>(count), std::vector<float>(count),
                         std::vector<float>(count)};
  }
}

void TokenWeights::observe(const MatrixGradient& g) {
  if (g.inputs == nullptr) return;  // the table
  Rows& input = rows_.at(linear_input_of(g.place.role, g.place.layer, false));
  const auto first = static_cast<std::size_t>(first_);
  QX_CHECK(first + static_cast<std::size_t>(g.rows) <= input.slopes.size());
  pool_.parallel_for(
      static_cast<std::size_t>(g.rows), 1, [&](std::size_t begin, std::size_t end, int) {
        for (std::size_t m = begin; m < end; ++m) {
          const auto row = static_cast<std::int64_t>(m);
          input.slopes[first + m] +=
              static_cast<float>(sum_of_squares(g.output_gradients + row * g.out, g.out));
          input.norms[first + m] = static_cast<float>(sum_of_squares(g.inputs + row * g.in, g.in));
        }
      });
}

void TokenWeights::finish() {
  for (auto& [name, input] : rows_) {
    double trace = 0, weighted = 0;
    for (std::size_t t = 0; t < input.slopes.size(); ++t) {
      trace += static_cast<double>(input.norms[t]);
      weighted += static_cast<double>(input.slopes[t]) * static_cast<double>(input.norms[t]);
    }
    if (!std::isfinite(trace) || !std::isfinite(weighted)) {
      fail(fmt::format("input '{}'", name),
           "got gradients or activations that are not finite, expected finite ones; the model's "
           "weights may be damaged");
    }
    // Without any gradient, as of a vocabulary of one token, all rows count alike.
    const double scale = weighted > 0 ? trace / weighted : 0, plain = weighted > 0 ? 0.5 : 1;
    for (std::size_t t = 0; t < input.slopes.size(); ++t) {
      input.roots[t] =
          static_cast<float>(std::sqrt(plain + 0.5 * scale * static_cast<double>(input.slopes[t])));
    }
  }
}

std::size_t TokenWeights::value_count() const {
  return rows_.empty() ? 0 : 2 * rows_.size() * rows_.begin()->second.slopes.size();
}

std::vector<float> TokenWeights::values() const {
  std::vector<float> out;
  out.reserve(value_count());
  for (const auto& [name, input] : rows_) {
    out.insert(out.end(), input.slopes.begin(), input.slopes.end());
    out.insert(out.end(), input.norms.begin(), input.norms.end());
  }
  return out;
}

void TokenWeights::set_values(std::span<const float> values) {
  QX_CHECK(values.size() == value_count());
  for (auto& [name, input] : rows_) {
    for (std::vector<float>* to : {&input.slopes, &input.norms}) {
      std::copy_n(values.begin(), to->size(), to->begin());
      values = values.subspan(to->size());
    }
  }
}

}  // namespace qx
