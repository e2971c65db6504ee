// Speed of linear() on one thread, as multiply-adds per second and as a share of what the
// machine's registers can do (attention: attention_bench.cpp). docs/performance.md has the command
// and figures.
// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "fma_peak.h"
#include "kernels/api.h"

namespace qx {
namespace {

struct Shape {
  std::int64_t rows, cols;
};

// How many weight rows one call gets, as the model splits a matrix over threads.
constexpr std::int64_t kRowsPerCall = 72;

double peak_of(const KernelTable& table) {
  static std::map<std::string, double> peaks;
  const auto [it, is_new] = peaks.try_emplace(table.name, 0.0);
  if (is_new) it->second = fma_peak(table.name);
  return it->second;
}

struct Free {
  void operator()(float* p) const { std::free(p); }
};
using AlignedFloats = std::unique_ptr<float, Free>;

AlignedFloats aligned_floats(std::int64_t n) {
  const std::size_t bytes = (static_cast<std::size_t>(n) * sizeof(float) + 63) / 64 * 64;
  return AlignedFloats(static_cast<float*>(std::aligned_alloc(64, bytes)));
}

// The best rate of any single call: on a machine shared with others that tells what the code can
// do, and is what compares with the peak, itself the best of many short runs.
class BestRate {
 public:
  explicit BestRate(double work_per_call) : work_(work_per_call) {}
  void start() { start_ = std::chrono::steady_clock::now(); }
  void stop() {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start_;
    best_ = std::max(best_, work_ / took.count());
  }
  double per_second() const { return best_; }

 private:
  double work_;
  std::chrono::steady_clock::time_point start_;
  double best_ = 0;
};

void report(benchmark::State& state, const KernelTable& table, double multiply_adds_per_second) {
  state.counters["GFMA/s"] = multiply_adds_per_second * 1e-9;
  if (peak_of(table) > 0) state.counters["share"] = multiply_adds_per_second / peak_of(table);
}

// bits 16: bfloat16 weights; 32: float32. rounded: x as bfloat16 too.
void linear_bench(benchmark::State& state, const KernelTable& table, Shape shape, int bits,
                  std::int64_t m, bool rounded) {
  constexpr int kGroup = 64;
  const bool affine = bits <= 8;
  const std::int64_t row_bytes = shape.cols * bits / 8;
  const std::int64_t groups = affine ? shape.cols / kGroup : 0;
  Random random(1);
  std::vector<std::byte> values(shape.rows * row_bytes);
  for (std::size_t i = 0; i < values.size(); ++i) {
    // Float weights get small positive exponents, whatever the rest.
    const bool high_byte = !affine && i % (bits / 8) == static_cast<std::size_t>(bits / 8 - 1);
    values[i] = high_byte ? std::byte{0x3C} : static_cast<std::byte>(random.next());
  }
  std::vector<std::byte> scales(shape.rows * groups * 2, std::byte{0x3C});
  const WeightRows w = {affine       ? WeightKind::kAffine
                        : bits == 16 ? WeightKind::kBF16
                                     : WeightKind::kF32,
                        ScaleKind::kBF16,
                        bits,
                        kGroup,
                        shape.rows,
                        shape.cols,
                        values.data(),
                        scales.data(),
                        scales.data()};
  const AlignedFloats x = aligned_floats(m * shape.cols), out = aligned_floats(m * shape.rows),
                      scratch = aligned_floats(linear_scratch_floats(shape.cols));
  for (std::int64_t i = 0; i < m * shape.cols; ++i) {
    x.get()[i] = static_cast<float>(random.gaussian());
  }
  const std::int64_t half_stride = padded_bf16(shape.cols);
  const AlignedFloats halves = aligned_floats(m * half_stride / 2);
  auto* half = reinterpret_cast<std::uint16_t*>(halves.get());
  for (std::int64_t i = 0; rounded && i < m; ++i) {
    table.round_bf16(x.get() + i * shape.cols, shape.cols, half + i * half_stride);
  }
  BestRate rate(static_cast<double>(m * kRowsPerCall * shape.cols));
  for (auto _ : state) {
    for (std::int64_t n = 0; n + kRowsPerCall <= shape.rows; n += kRowsPerCall) {
      rate.start();
      if (rounded) {
        table.linear_bf16(half, m, half_stride, w, n, n + kRowsPerCall, out.get() + n, shape.rows,
                          scratch.get());
      } else {
        table.linear(x.get(), m, shape.cols, w, n, n + kRowsPerCall, out.get() + n, shape.rows,
                     scratch.get());
      }
      rate.stop();
    }
    benchmark::ClobberMemory();
  }
  report(state, table, rate.per_second());
  const double bytes_per_weight = bits / 8.0 + (affine ? 4.0 / kGroup : 0.0);
  state.counters["GB/s"] = rate.per_second() / static_cast<double>(m) * bytes_per_weight * 1e-9;
}

void softmax_bench(benchmark::State& state, const KernelTable& table) {
  constexpr std::int64_t kCount = 49152;
  std::vector<float> logits(kCount, 0.125f);
  for (auto _ : state) benchmark::DoNotOptimize(table.sum_exp(logits.data(), kCount, 1.0f));
  state.counters["Gexp/s"] = benchmark::Counter(
      static_cast<double>(kCount * state.iterations()) * 1e-9, benchmark::Counter::kIsRate);
}

void register_all() {
  // SmolLM2-135M's matrices, then an 8B model's.
  const Shape shapes[] = {{576, 576},   {1536, 576},  {576, 1536},
                          {49152, 576}, {4096, 4096}, {12288, 4096}};
  const KernelTables& all = available_kernels();
  for (int t = 0; t < all.count; ++t) {
    const KernelTable& table = *all.tables[t];
    for (const Shape shape : shapes) {
      for (const int bits : {2, 3, 4, 5, 6, 8, 16, 32}) {
        for (const std::int64_t m : {1, 2, 4, 8, 16, 64, 512}) {
          const std::string name = fmt::format("linear/{}/{}x{}/bits:{}/M:{}", table.name,
                                               shape.rows, shape.cols, bits, m);
          benchmark::RegisterBenchmark(name.c_str(), [=, &table](benchmark::State& state) {
            linear_bench(state, table, shape, bits, m, false);
          });
          if (bits != 16 || table.linear_bf16 == nullptr) continue;
          benchmark::RegisterBenchmark(
              fmt::format("linear_bf16/{}/{}x{}/M:{}", table.name, shape.rows, shape.cols, m)
                  .c_str(),
              [=, &table](benchmark::State& state) {
                linear_bench(state, table, shape, 16, m, true);
              });
        }
      }
    }
    benchmark::RegisterBenchmark(
        fmt::format("sum_exp/{}", table.name).c_str(),
        [&table](benchmark::State& state) { softmax_bench(state, table); });
  }
}

}  // namespace
}  // namespace qx

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  qx::register_all();
  const qx::KernelTables& all = qx::available_kernels();
  for (int t = 0; t < all.count; ++t) {
    const double peak = qx::fma_peak(all.tables[t]->name);
    if (peak > 0) {
      fmt::print(stderr, "{}: register-only peak of one thread {:.1f} GFMA/s\n",
                 all.tables[t]->name, peak * 1e-9);
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
