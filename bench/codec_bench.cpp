// Encoding and decoding of affine rows by every instruction set that this machine has.
//   cmake --preset release -DQX_BENCH=ON && cmake --build build --target codec_bench && build/bench/codec_bench
// encode_qBITS_gGROUP_ROUNDING and decode_qBITS_gGROUP. items are weights; bytes are those of the stored codes,
// scales and biases (decode) or of the float32 values (encode).
// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <vector>

#include "base/random.h"
#include "kernels/api.h"

namespace {

constexpr std::int64_t kCols = 4096, kRows = 16;  // stays in the second-level cache

struct Spec {
  int bits, group;
  bool gpu;
};

struct Data {
  std::vector<float> values;
  std::vector<std::byte> codes, scales, biases;
  explicit Data(Spec spec)
      : values(kRows * kCols),
        codes(kRows * kCols / 8 * spec.bits),
        scales(kRows * kCols / spec.group * 2),
        biases(scales.size()) {
    qx::Random random(1);
    for (float& v : values) v = static_cast<float>(0.02 * random.gaussian());
  }
  std::int64_t stored_bytes() const {
    return static_cast<std::int64_t>(codes.size() + scales.size() + biases.size());
  }
};

void encode(const qx::KernelTable& table, Data& data, Spec spec) {
  for (std::int64_t r = 0; r < kRows; ++r) {
    const bool finite = table.affine_encode_row(data.values.data() + r * kCols, kCols, spec.bits,
                                                spec.group, spec.gpu, qx::ScaleKind::kBF16,
                                                data.codes.data() + r * kCols / 8 * spec.bits,
                                                data.scales.data() + r * kCols / spec.group * 2,
                                                data.biases.data() + r * kCols / spec.group * 2);
    benchmark::DoNotOptimize(finite);
  }
}

void encode_rows(benchmark::State& state, const qx::KernelTable* table, Spec spec) {
  Data data(spec);
  for ([[maybe_unused]] auto iteration : state) encode(*table, data, spec);
  state.SetItemsProcessed(state.iterations() * kRows * kCols);
  state.SetBytesProcessed(state.iterations() * kRows * kCols * 4);
}

void decode_rows(benchmark::State& state, const qx::KernelTable* table, Spec spec) {
  Data data(spec);
  encode(*table, data, spec);
  const qx::WeightRows w{.kind = qx::WeightKind::kAffine,
                         .scale_kind = qx::ScaleKind::kBF16,
                         .bits = spec.bits,
                         .group = spec.group,
                         .rows = kRows,
                         .cols = kCols,
                         .values = data.codes.data(),
                         .scales = data.scales.data(),
                         .biases = data.biases.data()};
  std::vector<float> out(kCols);
  for ([[maybe_unused]] auto iteration : state) {
    for (std::int64_t r = 0; r < kRows; ++r) {
      table->decode_row(w, r, 0, kCols, out.data());
      benchmark::DoNotOptimize(out.data());
    }
  }
  state.SetItemsProcessed(state.iterations() * kRows * kCols);
  state.SetBytesProcessed(state.iterations() * data.stored_bytes());
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const qx::KernelTables& all = qx::available_kernels();
  for (int t = 0; t < all.count; ++t) {
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
      for (const int group : {32, 64, 128}) {
        const auto name = [&](const char* op, const char* rounding) {
          return fmt::format("{}_q{}_g{}{}_{}", op, bits, group, rounding, all.tables[t]->name);
        };
        const Spec cpu{bits, group, false}, gpu{bits, group, true};
        benchmark::RegisterBenchmark(name("encode", "_cpu").c_str(), encode_rows, all.tables[t],
                                     cpu);
        benchmark::RegisterBenchmark(name("encode", "_gpu").c_str(), encode_rows, all.tables[t],
                                     gpu);
        benchmark::RegisterBenchmark(name("decode", "").c_str(), decode_rows, all.tables[t], cpu);
      }
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
