// Speed of linear_integer() and quantize_row() of every kernel table on one thread.
// docs/performance.md has the command and figures.
//
//   linear_integer/TABLE/ROWSxCOLS/bits:B/planes:P/group:G/M:M
//     GMAC/s  multiply-adds (of whole activations, both planes together) by the best single call
//     GB/s    bytes of codes, scales and biases over the time of that call
//     share   GMAC/s times planes over the table's peak of 8-bit multiply-adds
//     pass_GB/s  the same bytes by the best pass over the whole matrix, for matrices that no cache holds
//   quantize_row/TABLE/COLS/planes:P   Gvalues/s by the best call
// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "integer_peak.h"
#include "kernels/api.h"

namespace qx {
namespace {

struct Shape {
  std::int64_t rows, cols;
};

// How many weight rows one call gets, as the model splits a matrix over threads.
constexpr std::int64_t kRowsPerCall = 192;

double peak_of(const KernelTable& table) {
  static std::map<std::string, double> peaks;
  const auto [it, is_new] = peaks.try_emplace(table.name, 0.0);
  if (is_new) {
    it->second = integer_peak(table.name);
    fmt::print(stderr, "{}: register-only peak of one thread {:.1f} GMAC/s of 8 bits\n", table.name,
               it->second * 1e-9);
  }
  return it->second;
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};
template <typename T>
using Aligned = std::unique_ptr<T, Free>;
template <typename T>
Aligned<T> aligned(std::int64_t n) {
  const std::size_t bytes = (static_cast<std::size_t>(n) * sizeof(T) + 63) / 64 * 64;
  return Aligned<T>(static_cast<T*>(std::aligned_alloc(64, bytes)));
}

// The shortest of many calls: on a machine shared with others that tells what the code can do.
class Shortest {
 public:
  void start() { start_ = std::chrono::steady_clock::now(); }
  void stop() {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start_;
    seconds_ = std::min(seconds_, took.count());
  }
  double seconds() const { return seconds_; }

 private:
  std::chrono::steady_clock::time_point start_;
  double seconds_ = 1e9;
};

struct Activations {
  Activations(std::int64_t m, std::int64_t cols, int group, int planes)
      : codes(aligned<std::int8_t>(m * planes * plane_bytes(cols))),
        scales(aligned<float>(m * padded_groups(cols, group))),
        sums(aligned<float>(m * padded_groups(cols, group))),
        apart(aligned<ApartElement>(m * most_apart(cols, group))),
        apart_counts(aligned<std::int32_t>(m)),
        rows{planes,
             group,
             cols,
             planes * plane_bytes(cols),
             padded_groups(cols, group),
             codes.get(),
             scales.get(),
             sums.get(),
             most_apart(cols, group),
             apart.get(),
             apart_counts.get()} {
    Random random(2);
    std::vector<float> x(cols);
    for (std::int64_t i = 0; i < m; ++i) {
      for (float& v : x) v = static_cast<float>(random.gaussian());
      for (std::int64_t j = 0; j < cols / group / 32; ++j) x[random.next() % x.size()] *= 20.0f;
      apart_counts.get()[i] = available_kernels().tables[0]->quantize_row(
          x.data(), cols, group, planes, codes.get() + i * rows.row_bytes,
          scales.get() + i * rows.groups_stride, sums.get() + i * rows.groups_stride,
          apart.get() + i * rows.apart_stride);
    }
  }
  Aligned<std::int8_t> codes;
  Aligned<float> scales, sums;
  Aligned<ApartElement> apart;
  Aligned<std::int32_t> apart_counts;
  IntegerRows rows;
};

void linear_integer_bench(benchmark::State& state, const KernelTable& table, Shape shape, int bits,
                          int planes, int group, std::int64_t m) {
  const std::int64_t row_bytes = shape.cols * bits / 8, groups = shape.cols / group;
  Random random(1);
  std::vector<std::byte> values(shape.rows * row_bytes);
  for (std::size_t i = 0; i + 8 <= values.size(); i += 8) {
    const std::uint64_t bytes = random.next();
    std::memcpy(values.data() + i, &bytes, 8);
  }
  std::vector<std::byte> scales(shape.rows * groups * 2, std::byte{0x3C}), biases = scales;
  const WeightRows w = {
      WeightKind::kAffine, ScaleKind::kBF16, bits,          group,         shape.rows,
      shape.cols,          values.data(),    scales.data(), biases.data(),
  };
  const Activations x(m, shape.cols, group, planes);
  const Aligned<float> out = aligned<float>(m * shape.rows),
                       scratch = aligned<float>(linear_scratch_floats(shape.cols));
  const std::int64_t rows = std::min(kRowsPerCall, shape.rows);
  Shortest call, pass;
  for (auto _ : state) {
    pass.start();
    for (std::int64_t n = 0; n + rows <= shape.rows; n += rows) {
      call.start();
      table.linear_integer(x.rows, 0, m, w, n, n + rows, out.get() + n, shape.rows, scratch.get());
      call.stop();
    }
    pass.stop();
    benchmark::ClobberMemory();
  }
  const double weights = static_cast<double>(rows * shape.cols);
  const double bytes_per_weight = bits / 8.0 + 4.0 / group;
  const double rate = weights * static_cast<double>(m) / call.seconds();
  state.counters["GMAC/s"] = rate * 1e-9;
  state.counters["GB/s"] = weights * bytes_per_weight / call.seconds() * 1e-9;
  state.counters["pass_GB/s"] =
      static_cast<double>(shape.rows / rows) * weights * bytes_per_weight / pass.seconds() * 1e-9;
  if (peak_of(table) > 0) state.counters["share"] = rate * planes / peak_of(table);
}

void quantize_bench(benchmark::State& state, const KernelTable& table, std::int64_t cols,
                    int planes) {
  Random random(3);
  std::vector<float> x(cols);
  for (float& v : x) v = static_cast<float>(random.gaussian());
  Activations a(1, cols, 64, planes);
  Shortest call;
  for (auto _ : state) {
    call.start();
    for (int i = 0; i < 16; ++i) {
      table.quantize_row(x.data(), cols, 64, planes, a.rows.codes, a.rows.scales, a.rows.sums,
                         a.rows.apart);
      benchmark::ClobberMemory();
    }
    call.stop();
  }
  state.counters["Gvalues/s"] = 16.0 * static_cast<double>(cols) / call.seconds() * 1e-9;
}

void register_all() {
  // Rows and columns of matrices of SmolLM2-135M, of 1.7B and 8B models, and one that leaves the
  // caches.
  const Shape shapes[] = {{576, 1536}, {2048, 6144}, {4096, 4096}, {49152, 4096}};
  const KernelTables& all = available_kernels();
  for (int t = 0; t < all.count; ++t) {
    const KernelTable& table = *all.tables[t];
    for (const Shape shape : shapes) {
      for (const int bits : {2, 3, 4, 5, 6, 8}) {
        for (const int planes : {1, 2}) {
          for (const int group : {32, 64, 128}) {
            for (const std::int64_t m : {1, 2, 3, 4, 6, 8, 16, 32, 64, 512}) {
              if (shape.rows > 40000 && m > 4) continue;
              const std::string name =
                  fmt::format("linear_integer/{}/{}x{}/bits:{}/planes:{}/group:{}/M:{}", table.name,
                              shape.rows, shape.cols, bits, planes, group, m);
              benchmark::RegisterBenchmark(name.c_str(), [=, &table](benchmark::State& state) {
                linear_integer_bench(state, table, shape, bits, planes, group, m);
              });
            }
          }
        }
      }
    }
    for (const std::int64_t cols : {576, 4096}) {
      for (const int planes : {1, 2}) {
        const std::string name =
            fmt::format("quantize_row/{}/{}/planes:{}", table.name, cols, planes);
        benchmark::RegisterBenchmark(name.c_str(), [=, &table](benchmark::State& state) {
          quantize_bench(state, table, cols, planes);
        });
      }
    }
  }
}

}  // namespace
}  // namespace qx

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  qx::register_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
