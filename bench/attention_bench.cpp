// Speed, on one thread, of the attention kernels by number of queries, head size and keys; and of
// everything in a prompt of 512 tokens that is no linear layer, for three models' shapes. Best of
// many calls each. docs/kernels.md has the command and figures.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "fma_peak.h"
#include "kernels/api.h"

namespace qx {
namespace {

// Seconds of the fastest of the calls that fit in a tenth of a second, at least three.
template <class Body>
double best_seconds(Body body) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  const auto end = Clock::now() + std::chrono::milliseconds(100);
  for (int i = 0; i < 3 || Clock::now() < end; ++i) {
    const auto start = Clock::now();
    body();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

std::vector<float> gaussians(std::int64_t n) {
  Random random(1);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& v : values) v = static_cast<float>(random.gaussian());
  return values;
}

void kernels_of(const KernelTable& table) {
  const double peak = fma_peak(table.name);
  fmt::print("\n{}: register-only peak of one thread {:.1f} GFMA/s\n", table.name, peak * 1e-9);
  fmt::print("{:>4} {:>6} {:>8} | {:>13} | {:>13} | {:>13}\n", "dim", "keys", "queries",
             "scores GFMA/s", "values GFMA/s", "softmax Gexp/s");
  for (const std::int64_t dim : {64, 128}) {
    for (const std::int64_t keys : {64, 256, 1024, 4096}) {
      for (const std::int64_t n : {1, 2, 3, 4, 6, 8, 12, 32, 64}) {
        const auto queries = gaussians(n * dim), cache = gaussians(keys * dim);
        const std::int64_t stride = keys + 16;
        std::vector<float> scores(static_cast<std::size_t>(n * stride)), out(queries.size());
        const std::vector<std::int64_t> counts(static_cast<std::size_t>(n), keys);
        const auto work = static_cast<double>(n * keys * dim);
        const double a = work / best_seconds([&] {
                           table.attention_scores(queries.data(), dim, n, cache.data(),
                                                  counts.data(), dim, 0.125f, scores.data(),
                                                  stride);
                         });
        const auto before = scores;
        const double s = static_cast<double>(n * keys) / best_seconds([&] {
                           for (std::int64_t i = 0; i < n; ++i) {
                             table.softmax_unnormalized(scores.data() + i * stride, keys);
                           }
                         });
        const double v = work / best_seconds([&] {
                           table.attention_values(scores.data(), stride, n, cache.data(), dim,
                                                  counts.data(), dim, out.data(), dim);
                         });
        fmt::print("{:>4} {:>6} {:>8} | {:>6.1f} {:>4.0f} % | {:>6.1f} {:>4.0f} % | {:>6.2f}\n", dim,
                   keys, n, a * 1e-9, 100 * a / peak, v * 1e-9, 100 * v / peak, s * 1e-9);
      }
    }
  }
}

}  // namespace
}  // namespace qx

int main(int argc, char** argv) {
  const std::string_view only = argc > 1 ? argv[1] : "";
  const qx::KernelTables& all = qx::available_kernels();
  for (int t = 0; t < all.count; ++t) {
    if (only.empty() ? t > 0 : only == all.tables[t]->name) qx::kernels_of(*all.tables[t]);
  }
  return 0;
}
