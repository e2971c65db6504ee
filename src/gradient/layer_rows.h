// Derivatives of what a layer does row by row, between its products. Each row alone, in one order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace qx {

// dx of y[i] = x[i] r weight[i] with r = 1 / sqrt(mean(x^2) + eps):
// dx[i] = r weight[i] dy[i] - x[i] r^3 mean(weight dy x). dx may be dy. n elements; x is the input.
void rms_norm_gradient(const float* x, const float* weight, const float* dy, std::int64_t n,
                       float eps, float* dx);

// Of y = silu(gate) up: dgate = dy up s (1 + gate (1 - s)) and dup = dy gate s, with s = 1 / (1 +
// exp(-gate)). dgate may be dy.
void swiglu_gradient(const float* gate, const float* up, const float* dy, std::int64_t n,
                     float* dgate, float* dup);

// Of kernels/api.h's rope: the rotation the other way, in place.
void rope_gradient(float* head, const float* cosine, const float* sine, std::int64_t n);

}  // namespace qx
