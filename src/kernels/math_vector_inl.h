// All kernels but linear(), written once over 16-lane vectors. Each math_<isa>.cpp includes this
// file after it has defined, in its own anonymous namespace, the type V16 (16 float32 lanes) and
// these operations:
//   load store load_part store_part(n < 16 lanes; nothing beyond them is touched) zero splat
//   add sub mul div fma(a, b, c) max_of(a, b: b where a is NaN) negate
//   fma_part(a, b, c, n): lanes >= n keep c        first_lanes(a, b, n): a in lanes < n, else b
//   add_exponent(y, t): bits(y) + (bits(t) << 23)
//   where_less(x, c, a, b) where_greater where_nan(x, a, b)   equal_lanes(a, b): one bit per lane
//   reduce<N>(acc, out): out[i] = reduce16(acc[i])            kReduceWidth: the best N
// Everything here has internal linkage, so that code of one instruction set can never be linked
// into another's. No functions of the standard library: their instances would be shared between
// the objects.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/exp_constants.h"

namespace qx {
namespace {

constexpr std::int64_t kLanes = 16;

inline V16 exponential(V16 x) {
  const V16 t = fma(x, splat(kLog2E), splat(kRound));
  const V16 n = sub(t, splat(kRound));
  V16 r = fma(n, splat(-kLn2High), x);
  r = fma(n, splat(-kLn2Low), r);
  V16 q = fma(splat(kExpC6), r, splat(kExpC5));
  q = fma(q, r, splat(kExpC4));
  q = fma(q, r, splat(kExpC3));
  q = fma(q, r, splat(kExpC2));
  V16 y = add(fma(mul(q, r), r, r), splat(1.0f));
  y = add_exponent(y, t);
  y = where_less(x, splat(kExpLowest), zero(), y);
  y = where_greater(x, splat(kExpHighest), splat(__builtin_inff()), y);
  return where_nan(x, x, y);
}

inline float reduce_one(V16 acc) {
  float sum;
  reduce<1>(&acc, &sum);
  return sum;
}

// The largest value, NaN ignored; -infinity when nothing else is there.
inline float maximum(const float* x, std::int64_t n) {
  const V16 lowest = splat(-__builtin_inff());
  V16 a = lowest, b = lowest;
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    a = max_of(load(x + i), a);
    b = max_of(load(x + i + kLanes), b);
  }
  if (i + kLanes <= n) {
    a = max_of(load(x + i), a);
    i += kLanes;
  }
  const int rest = static_cast<int>(n - i);
  if (rest > 0) b = max_of(first_lanes(load_part(x + i, rest), lowest, rest), b);
  float lanes[kLanes];
  store(lanes, max_of(a, b));
  float best = lanes[0];
  for (int l = 1; l < kLanes; ++l) best = lanes[l] > best ? lanes[l] : best;
  return best;
}

inline void rms_norm(const float* x, const float* weight, std::int64_t n, float eps, float* out) {
  V16 acc = zero();
  const std::int64_t full = n / kLanes * kLanes;
  const int rest = static_cast<int>(n - full);
  for (std::int64_t i = 0; i < full; i += kLanes) {
    const V16 v = load(x + i);
    acc = fma(v, v, acc);
  }
  if (rest > 0) {
    const V16 v = load_part(x + full, rest);
    acc = fma_part(v, v, acc, rest);
  }
  const float mean = reduce_one(acc) / static_cast<float>(n);
  const V16 r = splat(1.0f / __builtin_sqrtf(mean + eps));
  for (std::int64_t i = 0; i < full; i += kLanes) {
    store(out + i, mul(mul(load(x + i), r), load(weight + i)));
  }
  if (rest > 0) {
    store_part(out + full, mul(mul(load_part(x + full, rest), r), load_part(weight + full, rest)),
               rest);
  }
}

struct Rotated {
  V16 a, b;
};

inline Rotated rotate(V16 a, V16 b, V16 c, V16 s) {
  return {fma(a, c, negate(mul(b, s))), fma(b, c, mul(a, s))};
}

inline void rope(float* head, const float* cosine, const float* sine, std::int64_t n) {
  const std::int64_t half = n / 2;
  std::int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const Rotated out =
        rotate(load(head + i), load(head + half + i), load(cosine + i), load(sine + i));
    store(head + i, out.a);
    store(head + half + i, out.b);
  }
  const int rest = static_cast<int>(half - i);
  if (rest > 0) {
    const Rotated out = rotate(load_part(head + i, rest), load_part(head + half + i, rest),
                               load_part(cosine + i, rest), load_part(sine + i, rest));
    store_part(head + i, out.a, rest);
    store_part(head + half + i, out.b, rest);
  }
}

inline V16 gated(V16 gate, V16 up) {
  return mul(div(gate, add(splat(1.0f), exponential(negate(gate)))), up);
}

inline void swiglu(float* gate, const float* up, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(gate + i, gated(load(gate + i), load(up + i)));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) {
    store_part(gate + i, gated(load_part(gate + i, rest), load_part(up + i, rest)), rest);
  }
}

inline void add_to(float* x, const float* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(x + i, add(load(x + i), load(y + i)));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) store_part(x + i, add(load_part(x + i, rest), load_part(y + i, rest)), rest);
}

inline void attention_scores(const float* query, const float* keys, std::int64_t key_stride,
                             std::int64_t count, std::int64_t head_dim, float scale,
                             float* scores) {
  const std::int64_t full = head_dim / kLanes * kLanes;
  const int rest = static_cast<int>(head_dim - full);
  for (std::int64_t j = 0; j < count; j += kReduceWidth) {
    const float* key[kReduceWidth];
    V16 acc[kReduceWidth];
    for (int i = 0; i < kReduceWidth; ++i) {
      // Past the end the last key is taken again and its result dropped.
      key[i] = keys + (j + i < count ? j + i : count - 1) * key_stride;
      acc[i] = zero();
    }
    for (std::int64_t d = 0; d < full; d += kLanes) {
      const V16 q = load(query + d);
#pragma GCC unroll 8
      for (int i = 0; i < kReduceWidth; ++i) acc[i] = fma(load(key[i] + d), q, acc[i]);
    }
    if (rest > 0) {
      const V16 q = load_part(query + full, rest);
      for (int i = 0; i < kReduceWidth; ++i) {
        acc[i] = fma_part(load_part(key[i] + full, rest), q, acc[i], rest);
      }
    }
    float sums[kReduceWidth];
    reduce<kReduceWidth>(acc, sums);
    const std::int64_t valid = count - j < kReduceWidth ? count - j : kReduceWidth;
    for (std::int64_t i = 0; i < valid; ++i) scores[j + i] = scale * sums[i];
  }
}

inline float softmax_unnormalized(float* scores, std::int64_t count) {
  const V16 max = splat(maximum(scores, count));
  V16 sum = zero();
  std::int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    const V16 e = exponential(sub(load(scores + j), max));
    store(scores + j, e);
    sum = add(sum, e);
  }
  const int rest = static_cast<int>(count - j);
  if (rest > 0) {
    const V16 e = exponential(sub(load_part(scores + j, rest), max));
    store_part(scores + j, e, rest);
    sum = first_lanes(add(sum, e), sum, rest);
  }
  return reduce_one(sum);
}

// The sums of C * 16 dimensions stay in registers over all values.
template <int C>
inline void attention_values_columns(const float* probabilities, const float* values,
                                     std::int64_t value_stride, std::int64_t count, float* out) {
  V16 acc[C];
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) acc[c] = load(out + c * kLanes);
  for (std::int64_t j = 0; j < count; ++j) {
    const V16 p = splat(probabilities[j]);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      acc[c] = fma(p, load(values + j * value_stride + c * kLanes), acc[c]);
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) store(out + c * kLanes, acc[c]);
}

inline void attention_values(const float* probabilities, const float* values,
                             std::int64_t value_stride, std::int64_t count, std::int64_t head_dim,
                             float* out) {
  std::int64_t d = 0;
  for (; d + kValueColumns * kLanes <= head_dim; d += kValueColumns * kLanes) {
    attention_values_columns<kValueColumns>(probabilities, values + d, value_stride, count,
                                            out + d);
  }
  for (; d + 4 * kLanes <= head_dim; d += 4 * kLanes) {
    attention_values_columns<4>(probabilities, values + d, value_stride, count, out + d);
  }
  for (; d + kLanes <= head_dim; d += kLanes) {
    attention_values_columns<1>(probabilities, values + d, value_stride, count, out + d);
  }
  const int rest = static_cast<int>(head_dim - d);
  if (rest > 0) {
    V16 acc = load_part(out + d, rest);
    for (std::int64_t j = 0; j < count; ++j) {
      acc = fma(splat(probabilities[j]), load_part(values + j * value_stride + d, rest), acc);
    }
    store_part(out + d, acc, rest);
  }
}

inline void max_index(const float* logits, std::int64_t n, float* max, std::int64_t* index) {
  const float best = maximum(logits, n);
  const V16 wanted = splat(best);
  std::int64_t found = 0;
  for (std::int64_t i = 0; i < n; i += kLanes) {
    const int count = static_cast<int>(n - i < kLanes ? n - i : kLanes);
    const V16 v = count == kLanes ? load(logits + i) : load_part(logits + i, count);
    const unsigned hits = equal_lanes(v, wanted) & ((1u << count) - 1u);
    if (hits != 0) {
      found = i + __builtin_ctz(hits);
      break;
    }
  }
  *index = found;
  *max = logits[found];
}

inline double sum_exp(const float* logits, std::int64_t n, float max) {
  constexpr std::int64_t kBlock = 1024;
  const V16 shift = splat(max);
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t end = n - begin < kBlock ? n : begin + kBlock;
    V16 sum = zero();
    std::int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      sum = add(sum, exponential(sub(load(logits + i), shift)));
    }
    const int rest = static_cast<int>(end - i);
    if (rest > 0) {
      const V16 e = exponential(sub(load_part(logits + i, rest), shift));
      sum = first_lanes(add(sum, e), sum, rest);
    }
    total += static_cast<double>(reduce_one(sum));
  }
  return total;
}

}  // namespace
}  // namespace qx
