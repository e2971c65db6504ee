// SPDX-License-Identifier: Apache-2.0
#include "fit/group_feedback.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"

namespace qx {
namespace {

// Pairs that are tried with feedback; what was measured of their number: docs/fitting.md.
constexpr int kCandidates = 6;

// To nearest even, of 0 to 255.
float round_code(float x) {
  constexpr float kOffset = 12582912.0f;  // 1.5 * 2^23
  return (x + kOffset) - kOffset;
}

double dot_double(const float* a, const float* b, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

// The weights, the ones and the codes of a group, each as U^-T x: the error of a scale s and bias b
// with these codes is |weights - s codes - b ones|^2.
struct Substituted {
  float weights[FedBackGroup::kMaxColumns], codes[FedBackGroup::kMaxColumns];
  const float* ones;
  double ones_square, ones_weights;
  int n;
};

// The pair that minimizes it, as stored: the bias is rounded first, then the scale fitted to it.
std::optional<GroupCode> best_pair(const Substituted& s, DType dtype) {
  const double qq = dot_double(s.codes, s.codes, s.n), q1 = dot_double(s.codes, s.ones, s.n),
               qw = dot_double(s.codes, s.weights, s.n);
  const double det = qq * s.ones_square - q1 * q1;
  if (!(det > 1e-7 * qq * s.ones_square)) return std::nullopt;  // all codes alike
  const double scale = (qw * s.ones_square - q1 * s.ones_weights) / det;
  GroupCode out;
  out.bias = round_to(dtype, static_cast<float>((s.ones_weights - scale * q1) / s.ones_square));
  out.scale = round_to(dtype, static_cast<float>((qw - static_cast<double>(out.bias) * q1) / qq));
  if (!std::isfinite(out.bias) || !std::isfinite(out.scale) || std::fabs(out.scale) < 1e-30f) {
    return std::nullopt;
  }
  return out;
}

}  // namespace

GroupFeedback::GroupFeedback(const float* upper, std::int64_t stride, const float* importance,
                             int columns)
    : n_(columns), importance_(importance), ones_(static_cast<std::size_t>(columns), 1.0f) {
  QX_CHECK(columns > 0 && columns <= FedBackGroup::kMaxColumns);
  for (int k = 0; k < n_; ++k) {
    upper_.insert(upper_.end(), upper + k * stride, upper + k * stride + n_);
  }
  substitute(ones_.data());
  ones_square_ = dot_double(ones_.data(), ones_.data(), n_);
}

// x := U^-T x
void GroupFeedback::substitute(float* x) const {
  for (int k = 0; k < n_; ++k) {
    const float* u = upper_.data() + k * n_;
    x[k] /= u[k];
    for (int c = k + 1; c < n_; ++c) x[c] -= x[k] * u[c];
  }
}

// Codes and errors of one pair; stops when the sum of squares is no longer below the limit.
double GroupFeedback::quantize(const float* row, const GroupCode& code, float top, double limit,
                               FedBackGroup& out) const {
  float w[FedBackGroup::kMaxColumns];
  std::copy_n(row, n_, w);
  double sum = 0;
  for (int k = 0; k < n_; ++k) {
    const float x = (w[k] - code.bias) / code.scale;
    // A scale of zero, or weights beyond the range of floats: code 0.
    const float q = std::isfinite(x) ? round_code(std::clamp(x, 0.0f, top)) : 0.0f;
    const float* u = upper_.data() + k * n_;
    const float error = (w[k] - (code.scale * q + code.bias)) / u[k];
    out.codes[k] = static_cast<std::uint8_t>(q);
    out.errors[k] = error;
    sum += static_cast<double>(error) * static_cast<double>(error);
    if (sum >= limit) return sum;
    for (int c = k + 1; c < n_; ++c) w[c] -= error * u[c];
  }
  out.code = code;
  return sum;
}

void GroupFeedback::fit(const float* row, AffineSpec spec, DType dtype, FedBackGroup& out) const {
  QX_CHECK(spec.group == n_);
  const float top = static_cast<float>((1 << spec.bits) - 1);
  GroupCode candidates[kCandidates];
  const int count = fit_candidates(row, importance_, spec, dtype, kCandidates, candidates);
  constexpr double kNoLimit = std::numeric_limits<double>::infinity();
  double least = quantize(row, candidates[0], top, kNoLimit, out);
  if (!std::isfinite(least)) return;  // nothing to improve: the caller sees the scale
  Substituted s;
  s.n = n_;
  s.ones = ones_.data();
  s.ones_square = ones_square_;
  std::copy_n(row, n_, s.weights);
  substitute(s.weights);
  s.ones_weights = dot_double(s.ones, s.weights, n_);
  FedBackGroup trial;
  for (int i = 0; i < count; ++i) {
    const double error = i == 0 ? least : quantize(row, candidates[i], top, kNoLimit, trial);
    if (i == 0) trial = out;
    if (error < least) {
      least = error;
      out = trial;
    }
    for (int k = 0; k < n_; ++k) s.codes[k] = static_cast<float>(trial.codes[k]);
    substitute(s.codes);
    const std::optional<GroupCode> pair = best_pair(s, dtype);
    if (!pair) continue;
    for (int k = 0; k < n_; ++k) {
      trial.errors[k] = s.weights[k] - pair->scale * s.codes[k] - pair->bias * s.ones[k];
    }
    const double same_codes = dot_double(trial.errors, trial.errors, n_);
    if (same_codes < least) {
      least = same_codes;
      trial.code = *pair;
      out = trial;
    }
    const double again = quantize(row, *pair, top, least, trial);
    if (again < least) {
      least = again;
      out = trial;
    }
  }
  out.code.error = static_cast<float>(least);
}

}  // namespace qx
