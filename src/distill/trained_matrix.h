// Scales and biases of one affine matrix while they are trained; its codes stay as they are.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/api.h"
#include "tensor/dtype.h"

namespace qx {

// Adam (Kingma and Ba, arXiv 1412.6980) with its usual constants.
struct AdamStep {
  double rate = 0;        // of this step
  std::int64_t step = 1;  // from 1 on: corrects the moments' start at zero
};
constexpr double kAdamMeanDecay = 0.9, kAdamSquareDecay = 0.99, kAdamEpsilon = 1e-16;

// A group decodes to scale * code + bias. With n the largest code, what is trained is the pair
// (scale, centre = bias + scale * n / 2): a change of one moves the group's weights apart, of the
// other all alike, so their gradients are nearly independent, which scale's and bias's are not.
// Both are kept in float32; what the model sees is bias = centre - scale * n / 2 and scale, rounded
// to the stored type, and gradients are taken there (straight through the rounding).
//
// A rate of r moves the weights of a group by about r of its first scale, that is of the distance
// between two codes: a centre by r * |scale|, a scale by r * |scale| / (n / sqrt(12)), where
// n / sqrt(12) is the standard deviation of evenly spread codes. A scale stays within half and twice
// its first value. A group whose scale is 0 (all weights equal) is not trained.
class TrainedMatrix {
 public:
  // rows: affine; its codes must outlive this. Memory: 36 bytes a group.
  explicit TrainedMatrix(const WeightRows& rows);

  // The matrix as it is now: the codes of the original, scales and biases of this object. The
  // pointers stay the same for its lifetime.
  const WeightRows& rows() const { return rows_; }

  // Adds the gradient of rows [first, first + count): values is dL/dW, [count, cols].
  // Threads: any number for different rows.
  void add_gradient(std::int64_t first, std::int64_t count, const float* values);
  // One step by the gradients added since the last one, which it forgets. Threads: different groups.
  void step(AdamStep adam);

  std::int64_t groups() const { return static_cast<std::int64_t>(scale_.size()); }
  // Stored scales and biases, [rows, cols / group] of the matrix's type.
  const std::vector<std::byte>& scales() const { return scales_; }
  const std::vector<std::byte>& biases() const { return biases_; }
  // Puts earlier stored values back; the float32 ones and the moments go on from where they are.
  void restore(const std::vector<std::byte>& scales, const std::vector<std::byte>& biases);

 private:
  // Slope: of the loss. Mean, square: Adam's moments.
  struct Parameter {
    float value = 0, slope = 0, mean = 0, square = 0;
  };
  void store(std::int64_t group);

  WeightRows rows_;
  DType dtype_;
  float top_ = 0;  // largest code
  std::vector<Parameter> scale_, centre_;
  std::vector<float> first_scale_;
  std::vector<std::byte> scales_, biases_;
};

}  // namespace qx
