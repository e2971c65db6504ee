// Rotary position embedding: the cosines and sines that a head is rotated by, as Hugging Face
// computes them: exponents, frequencies and angles in float32.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "arch/model_config.h"

namespace qx {

// inv_freq[i] = 1 / theta^(2i / head_dim), scaled as the type asks; head_dim / 2 elements.
// Linear: divided by the factor. Llama 3: long wavelengths divided by the factor, short ones kept,
// those between interpolated (transformers, modeling_rope_utils.py).
std::vector<float> rope_inverse_frequencies(const RopeConfig& config, std::int64_t head_dim);

// Angles of the positions asked for so far. Grows on demand, so that a long context costs memory
// only when it is used. Threads: reserve() alone; the readers from any thread between two reserves.
class RopeTable {
 public:
  RopeTable(const RopeConfig& config, std::int64_t head_dim);
  void reserve(std::int64_t positions);  // makes [0, positions) readable
  const float* cosine(std::int64_t position) const { return cosine_.data() + position * half_; }
  const float* sine(std::int64_t position) const { return sine_.data() + position * half_; }

 private:
  std::int64_t half_ = 0, filled_ = 0;
  std::vector<float> frequencies_;
  std::vector<float> cosine_, sine_;  // [positions, half]
};

}  // namespace qx
