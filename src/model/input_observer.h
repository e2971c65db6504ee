// Who wants to see what goes into the linear layers of a forward pass: calibration.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace qx {

// Inputs that several linear layers share are one.
enum class LinearInputKind {
  kQkv,     // hidden_size columns
  kO,       // num_attention_heads * head_dim
  kGateUp,  // hidden_size
  kDown,    // intermediate_size
  kFinal,   // hidden_size: what the head reads; outside the layers
};

struct LinearInputPlace {
  LinearInputKind kind = LinearInputKind::kFinal;
  std::int64_t layer = -1;
};

class InputObserver {
 public:
  virtual ~InputObserver() = default;
  // rows: [count, width] float32, contiguous, valid during the call; before a linear layer
  // multiplies them. In the last layer, rows without an output are left out of all but kQkv. Called
  // by the thread that runs the pass while the pool is idle, so it may use the pool. What it throws
  // ends the pass.
  virtual void observe(LinearInputPlace place, const float* rows, std::int64_t count,
                       std::int64_t width) = 0;
};

}  // namespace qx
