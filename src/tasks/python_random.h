// Python's random.Random with an integer seed: the generator that lm-eval draws few-shot examples with.
// Source: CPython 3.11, Lib/random.py (sample, _randbelow_with_getrandbits) and Modules/_randommodule.c;
// the generator is MT19937 (Matsumoto and Nishimura, 1998).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace qx {

class PythonRandom {
 public:
  // Random(seed).
  explicit PythonRandom(std::uint64_t seed);

  // getrandbits(bits), 1 to 64 bits.
  std::uint64_t bits(int bits);
  // _randbelow(n): uniform in [0, n). n must be positive.
  std::uint64_t below(std::uint64_t n);
  // sample(range(n), k): k different numbers of [0, n) in the order drawn. k must be in [0, n].
  std::vector<std::int64_t> sample(std::int64_t n, std::int64_t k);

 private:
  static constexpr std::size_t kWords = 624;
  std::uint32_t next();
  void refill();
  void seed_with(std::uint32_t seed);

  std::array<std::uint32_t, kWords> state_{};
  std::size_t used_ = kWords;
};

}  // namespace qx
