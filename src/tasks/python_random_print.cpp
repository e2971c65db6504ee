// For tests/parity/test_fewshot.py: reads lines "seed n k", prints sample(range(n), k) and then
// sample(range(n), 1) of the same generator.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <iostream>

#include "tasks/python_random.h"

int main() {
  std::uint64_t seed = 0;
  std::int64_t n = 0, k = 0;
  while (std::cin >> seed >> n >> k) {
    qx::PythonRandom random(seed);
    for (const std::int64_t value : random.sample(n, k)) std::cout << value << ' ';
    for (const std::int64_t value : random.sample(n, std::min<std::int64_t>(1, n))) {
      std::cout << value;
    }
    std::cout << '\n';
  }
}
