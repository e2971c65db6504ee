// SPDX-License-Identifier: Apache-2.0
#include "tasks/python_random.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <unordered_set>

#include "base/error.h"

namespace qx {

void PythonRandom::seed_with(std::uint32_t seed) {
  state_[0] = seed;
  for (std::uint32_t i = 1; i < kWords; ++i) {
    state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
  }
  used_ = kWords;
}

// init_by_array() over the seed's 32-bit words, lowest first.
PythonRandom::PythonRandom(std::uint64_t seed) {
  const std::array<std::uint32_t, 2> key = {static_cast<std::uint32_t>(seed),
                                            static_cast<std::uint32_t>(seed >> 32)};
  const std::uint32_t length = key[1] == 0 ? 1 : 2;
  seed_with(19650218u);
  std::size_t i = 1;
  const auto mixed = [&](std::uint32_t factor) {
    return state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * factor);
  };
  const auto advance = [&] {
    if (++i < kWords) return;
    state_[0] = state_[kWords - 1];
    i = 1;
  };
  for (std::uint32_t k = 0; k < kWords; ++k) {
    const std::uint32_t j = k % length;
    state_[i] = mixed(1664525u) + key[j] + j;
    advance();
  }
  for (std::size_t k = 1; k < kWords; ++k) {
    state_[i] = mixed(1566083941u) - static_cast<std::uint32_t>(i);
    advance();
  }
  state_[0] = 0x80000000u;
}

void PythonRandom::refill() {
  constexpr std::size_t kShift = 397;
  for (std::size_t i = 0; i < kWords; ++i) {
    const std::uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % kWords] & 0x7FFFFFFFu);
    state_[i] = state_[(i + kShift) % kWords] ^ (y >> 1) ^ ((y & 1u) != 0 ? 0x9908B0DFu : 0u);
  }
  used_ = 0;
}

std::uint32_t PythonRandom::next() {
  if (used_ >= kWords) refill();
  std::uint32_t y = state_[used_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9D2C5680u;
  y ^= (y << 15) & 0xEFC60000u;
  return y ^ (y >> 18);
}

std::uint64_t PythonRandom::bits(int bits) {
  QX_CHECK(bits >= 1 && bits <= 64);
  const std::uint64_t low = next() >> (32 - std::min(bits, 32));
  if (bits <= 32) return low;
  return low | std::uint64_t{next() >> (64 - bits)} << 32;
}

std::uint64_t PythonRandom::below(std::uint64_t n) {
  QX_CHECK(n > 0);
  const int width = static_cast<int>(std::bit_width(n));
  std::uint64_t value = bits(width);
  while (value >= n) value = bits(width);
  return value;
}

std::vector<std::int64_t> PythonRandom::sample(std::int64_t n, std::int64_t k) {
  QX_CHECK(k >= 0 && k <= n);
  std::vector<std::int64_t> result;
  // A set of the numbers drawn is smaller than a list of all from this size on, as Python reckons.
  double set_size = 21;
  if (k > 5) {
    set_size += std::pow(4, std::ceil(std::log(static_cast<double>(k) * 3) / std::log(4.0)));
  }
  if (static_cast<double>(n) <= set_size) {
    std::vector<std::int64_t> pool(static_cast<std::size_t>(n));
    std::iota(pool.begin(), pool.end(), 0);
    for (std::int64_t i = 0; i < k; ++i) {
      const std::uint64_t j = below(static_cast<std::uint64_t>(n - i));
      result.push_back(pool[j]);
      pool[j] = pool[static_cast<std::size_t>(n - i - 1)];
    }
    return result;
  }
  std::unordered_set<std::uint64_t> seen;
  while (static_cast<std::int64_t>(result.size()) < k) {
    const std::uint64_t j = below(static_cast<std::uint64_t>(n));
    if (seen.insert(j).second) result.push_back(static_cast<std::int64_t>(j));
  }
  return result;
}

}  // namespace qx
