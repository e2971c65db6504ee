// All kernels but linear(), written once over 16-lane vectors. Each math_<isa>.cpp includes this
// file after it has defined, in its own anonymous namespace, the type V16 (16 float32 lanes) and
// these operations:
//   load store load_part store_part(n < 16 lanes; nothing beyond them is touched) zero splat
//   add sub mul div fma(a, b, c) max_of(a, b: b where a is NaN) negate
//   fma_part(a, b, c, n): lanes >= n keep c        first_lanes(a, b, n): a in lanes < n, else b
//   add_exponent(y, t): bits(y) + (bits(t) << 23)
//   where_less(x, c, a, b) where_greater where_nan(x, a, b)   equal_lanes(a, b): one bit per lane
//   reduce<N>(acc, out): out[i] = reduce16(acc[i])
//   attention_step<Q, B>(a, a_stride, b, b_vector, acc):
//     acc[q * B + v] = fma(splat(a[q * a_stride]), load(b + v * b_vector), acc[q * B + v])
//   kAttentionQueries, kAttentionVectors: attention keeps the product of the two of sums in
//     registers, beside one vector a query and one more
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

// acc[q * B + v] = fma over k, rising, of a[q * a_stride + k] and the vector b + v * b_vector + k *
// b_step: the one inner loop of attention, whose sums stay in registers.
template <int Q, int B>
inline void multiply_tile(const float* a, std::int64_t a_stride, const float* b,
                          std::int64_t b_vector, std::int64_t b_step, std::int64_t count,
                          V16 (&acc)[Q * B]) {
  for (std::int64_t k = 0; k < count; ++k) {
    attention_step<Q, B>(a + k, a_stride, b, b_vector, acc);
    b += b_step;
  }
}

// Calls Body<Q>::run(args..) for the Q in [1, N] that equals q.
template <template <int> class Body, int N, class... Args>
inline void with_queries(int q, Args... args) {
  if constexpr (N > 1) {
    if (q < N) return with_queries<Body, N - 1>(q, args...);
  }
  Body<N>::run(args...);
}

// Queries [first, end) for one call of the inner loop: `total` in equal groups as far as possible.
struct QueryGroups {
  std::int64_t groups, size, longer;  // the first `longer` groups have one query more
  explicit QueryGroups(std::int64_t total)
      : groups((total + kAttentionQueries - 1) / kAttentionQueries),
        size(groups == 0 ? 0 : total / groups),
        longer(groups == 0 ? 0 : total % groups) {}
  std::int64_t first(std::int64_t g) const { return g * size + (g < longer ? g : longer); }
};

// Scores of Q queries for `count` <= B * 16 keys of B blocks.
template <int Q, int B>
inline void score_tile(const float* queries, std::int64_t query_stride, const float* keys,
                       std::int64_t count, std::int64_t head_dim, float scale, float* scores,
                       std::int64_t score_stride) {
  V16 acc[Q * B];
#pragma GCC unroll 32
  for (int i = 0; i < Q * B; ++i) acc[i] = zero();
  multiply_tile<Q, B>(queries, query_stride, keys, kLanes * head_dim, kLanes, head_dim, acc);
  const V16 factor = splat(scale);
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 8
    for (int v = 0; v < B; ++v) {
      float* to = scores + q * score_stride + v * kLanes;
      const V16 score = mul(acc[q * B + v], factor);
      const std::int64_t left = count - v * kLanes;
      if (v + 1 < B || left >= kLanes) {
        store(to, score);
      } else {
        store_part(to, score, static_cast<int>(left));
      }
    }
  }
}

// Few queries take more blocks at once, so that enough independent sums are under way.
constexpr int tile_vectors(int queries) {
  return queries == 1 ? 2 * kAttentionVectors : kAttentionVectors;
}

template <int Q, int B, class... Args>
inline void score_tile_of(std::int64_t vectors, Args... args) {
  if constexpr (B > 1) {
    if (vectors < B) return score_tile_of<Q, B - 1>(vectors, args...);
  }
  score_tile<Q, B>(args...);
}

template <int Q>
struct ScoreGroup {
  static void run(const float* queries, std::int64_t query_stride, const float* keys,
                  std::int64_t count, std::int64_t head_dim, float scale, float* scores,
                  std::int64_t score_stride) {
    constexpr std::int64_t kTile = tile_vectors(Q) * kLanes;
    for (std::int64_t j = 0; j < count; j += kTile) {
      const std::int64_t some = count - j < kTile ? count - j : kTile;
      score_tile_of<Q, tile_vectors(Q)>((some + kLanes - 1) / kLanes, queries, query_stride,
                                        keys + j * head_dim, some, head_dim, scale, scores + j,
                                        score_stride);
    }
  }
};

inline std::int64_t largest(const std::int64_t* counts, std::int64_t n) {
  std::int64_t most = 0;
  for (std::int64_t i = 0; i < n; ++i) most = counts[i] > most ? counts[i] : most;
  return most;
}

// 32 KB of keys or values, which stay in the first-level cache while all groups of queries use
// them; a multiple of what the inner loop takes.
inline std::int64_t keys_at_once(std::int64_t head_dim) {
  constexpr std::int64_t kTile = 2 * kAttentionVectors * kLanes;
  const std::int64_t tiles = 8192 / head_dim / kTile;
  return tiles < 1 ? kTile / 2 : tiles * kTile;
}

inline void attention_scores(const float* queries, std::int64_t query_stride, std::int64_t n,
                             const float* keys, const std::int64_t* counts, std::int64_t head_dim,
                             float scale, float* scores, std::int64_t score_stride) {
  const QueryGroups groups(n);
  const std::int64_t all = largest(counts, n);
  const std::int64_t step = keys_at_once(head_dim);
  for (std::int64_t j = 0; j < all; j += step) {
    for (std::int64_t g = 0; g < groups.groups; ++g) {
      const std::int64_t first = groups.first(g), size = groups.first(g + 1) - first;
      std::int64_t count = largest(counts + first, size) - j;
      if (count <= 0) continue;
      if (count > step) count = step;
      with_queries<ScoreGroup, kAttentionQueries>(
          static_cast<int>(size), queries + first * query_stride, query_stride, keys + j * head_dim,
          count, head_dim, scale, scores + first * score_stride + j, score_stride);
    }
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

template <int Q, int B>
inline void value_tile(const float* probabilities, std::int64_t stride, const float* values,
                       std::int64_t value_stride, std::int64_t count, float* out,
                       std::int64_t out_stride) {
  V16 acc[Q * B];
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 8
    for (int v = 0; v < B; ++v) acc[q * B + v] = load(out + q * out_stride + v * kLanes);
  }
  multiply_tile<Q, B>(probabilities, stride, values, kLanes, value_stride, count, acc);
#pragma GCC unroll 8
  for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 8
    for (int v = 0; v < B; ++v) store(out + q * out_stride + v * kLanes, acc[q * B + v]);
  }
}

template <int Q, int B, class... Args>
inline void value_tile_of(std::int64_t vectors, Args... args) {
  if constexpr (B > 1) {
    if (vectors < B) return value_tile_of<Q, B - 1>(vectors, args...);
  }
  value_tile<Q, B>(args...);
}

template <int Q>
struct ValueGroup {
  static void run(const float* probabilities, std::int64_t stride, const float* values,
                  std::int64_t value_stride, std::int64_t count, std::int64_t dims, float* out,
                  std::int64_t out_stride) {
    const std::int64_t full = dims / kLanes * kLanes;
    constexpr std::int64_t kTile = tile_vectors(Q) * kLanes;
    std::int64_t d = 0;
    for (; d < full; d += kTile) {
      const std::int64_t vectors = (full - d < kTile ? full - d : kTile) / kLanes;
      value_tile_of<Q, tile_vectors(Q)>(vectors, probabilities, stride, values + d, value_stride,
                                        count, out + d, out_stride);
    }
    d = full;
    const int rest = static_cast<int>(dims - d);
    for (int q = 0; rest > 0 && q < Q; ++q) {
      V16 acc = load_part(out + q * out_stride + d, rest);
      for (std::int64_t j = 0; j < count; ++j) {
        acc = fma(splat(probabilities[q * stride + j]),
                  load_part(values + j * value_stride + d, rest), acc);
      }
      store_part(out + q * out_stride + d, acc, rest);
    }
  }
};

inline void attention_values(const float* probabilities, std::int64_t stride, std::int64_t n,
                             const float* values, std::int64_t value_stride,
                             const std::int64_t* counts, std::int64_t head_dim, float* out,
                             std::int64_t out_stride) {
  const QueryGroups groups(n);
  const std::int64_t all = largest(counts, n);
  const std::int64_t step = keys_at_once(head_dim);
  for (std::int64_t j = 0; j < all; j += step) {
    for (std::int64_t g = 0; g < groups.groups; ++g) {
      const std::int64_t first = groups.first(g), end = groups.first(g + 1);
      // What all queries of the group see together, then the rest of each alone.
      std::int64_t common = step;
      for (std::int64_t i = first; i < end; ++i) {
        const std::int64_t left = counts[i] - j;
        if (left < common) common = left > 0 ? left : 0;
      }
      with_queries<ValueGroup, kAttentionQueries>(static_cast<int>(end - first),
                                                  probabilities + first * stride + j, stride,
                                                  values + j * value_stride, value_stride, common,
                                                  head_dim, out + first * out_stride, out_stride);
      for (std::int64_t i = first; i < end; ++i) {
        const std::int64_t left = counts[i] - j < step ? counts[i] - j : step;
        if (left <= common) continue;
        ValueGroup<1>::run(probabilities + i * stride + j + common, stride,
                           values + (j + common) * value_stride, value_stride, left - common,
                           head_dim, out + i * out_stride, out_stride);
      }
    }
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
