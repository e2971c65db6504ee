// Speed, on one thread, of the attention kernels by number of queries, head size and keys; and of
// everything in a prompt of 512 tokens that is no linear layer, for three models' shapes. Best of
// many calls each. docs/performance.md has the command and figures.
//   attention_bench [ISA]    the kernels       attention_bench model    the models' shapes
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "fma_peak.h"
#include "kernels/api.h"
#include "model/attention.h"

namespace qx {
namespace {

// Seconds of the fastest of the calls that fit in the time, at least three.
template <class Body>
double best_seconds(Body body, int milliseconds = 100) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  const auto end = Clock::now() + std::chrono::milliseconds(milliseconds);
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
        const double a =
            work / best_seconds([&] {
              table.attention_scores(queries.data(), dim, n, cache.data(), counts.data(), dim,
                                     0.125f, scores.data(), stride);
            });
        const double s = static_cast<double>(n * keys) / best_seconds([&] {
                           for (std::int64_t i = 0; i < n; ++i) {
                             table.softmax_unnormalized(scores.data() + i * stride, keys);
                           }
                         });
        const double v = work / best_seconds([&] {
                           table.attention_values(scores.data(), stride, n, cache.data(), dim,
                                                  counts.data(), dim, out.data(), dim);
                         });
        fmt::print("{:>4} {:>6} {:>8} | {:>6.1f} {:>4.0f} % | {:>6.1f} {:>4.0f} % | {:>6.2f}\n",
                   dim, keys, n, a * 1e-9, 100 * a / peak, v * 1e-9, 100 * v / peak, s * 1e-9);
      }
    }
  }
}

struct ModelShape {
  const char* name;
  std::int64_t hidden, heads, kv_heads, dim, layers, intermediate;
  bool head_norms;
  double linear_macs() const {  // of a layer and a token
    return static_cast<double>(hidden * dim * (2 * heads + 2 * kv_heads) +
                               3 * hidden * intermediate);
  }
};
constexpr ModelShape kShapes[] = {{"SmolLM2-135M", 576, 9, 3, 64, 30, 1536, false},
                                  {"Qwen3-1.7B", 2048, 16, 8, 128, 28, 6144, true},
                                  {"Qwen3-8B", 4096, 32, 8, 128, 36, 12288, true}};

// A layer's keys and values, and a pass over `chains`, every row of which is a new position.
struct LayerPass {
  std::vector<std::shared_ptr<CpuSegment>> segments;
  std::vector<KvChain> chains;
  std::vector<RowPlace> places;
  std::vector<float> q, out;
  std::vector<AttentionScratch> scratch{1};
  ThreadPool pool{1};
  ModelShape shape;

  // A context of `shared` tokens with `leaves` continuations of `own`; shared 0: one sequence.
  LayerPass(const ModelShape& s, KvBits bits, std::int64_t shared, int leaves, std::int64_t own)
      : shape(s) {
    const auto row = gaussians(s.dim);
    const KvShape kv{1, s.kv_heads, s.dim, bits};
    const auto add = [&](std::shared_ptr<CpuSegment> parent, std::int64_t count) {
      auto segment = std::make_shared<CpuSegment>(parent, kv, count);
      segment->extend(count);
      for (std::int64_t p = 0; p < count; ++p) {
        for (std::int64_t h = 0; h < s.kv_heads; ++h) {
          segment->store(0, h, p, row.data(), row.data());
        }
        if (parent != nullptr || shared == 0) {
          places.push_back({chains.size(), segment->begin() + p});
        }
      }
      return segments.emplace_back(segment);
    };
    const auto root = shared > 0 ? add(nullptr, shared) : nullptr;
    for (int i = 0; i < leaves; ++i) chains.emplace_back(add(root, own).get());
    q = gaussians(static_cast<std::int64_t>(places.size()) * s.heads * s.dim);
    out.resize(q.size());
  }
  void run() {
    attend(pool, {0, shape.heads, shape.kv_heads, shape.dim, chains, places, q.data(), out.data()},
           scratch);
  }
};

// Everything but the linear layers, for 512 tokens on one thread, and what share of the time of a
// prompt that is when the linear layers do 150 or 300 billion multiply-adds a second.
void prompt_of(const ModelShape& s) {
  constexpr std::int64_t kTokens = 512;
  const KernelTable& k = kernels();
  auto x = gaussians(kTokens * s.hidden), normed = x;
  auto gate = gaussians(kTokens * s.intermediate);
  const auto up = gate, weight = gaussians(s.hidden), table = gaussians(s.dim);
  LayerPass pass(s, KvBits::k32, 0, 1, kTokens);
  const std::int64_t q_rows = kTokens * s.heads, kv_rows = kTokens * s.kv_heads;
  const double norms = 2 * best_seconds([&] {
                         for (std::int64_t m = 0; m < kTokens; ++m) {
                           k.rms_norm(x.data() + m * s.hidden, weight.data(), s.hidden, 1e-6f,
                                      normed.data() + m * s.hidden);
                         }
                       });
  auto heads = gaussians((q_rows + kv_rows) * s.dim);
  const double head_norms = !s.head_norms ? 0 : best_seconds([&] {
    for (std::int64_t i = 0; i < q_rows + kv_rows; ++i) {
      k.rms_norm(heads.data() + i * s.dim, weight.data(), s.dim, 1e-6f, heads.data() + i * s.dim);
    }
  });
  const double rope = best_seconds([&] {
    for (std::int64_t i = 0; i < q_rows + kv_rows; ++i) {
      k.rope(heads.data() + i * s.dim, table.data(), table.data() + s.dim / 2, s.dim);
    }
  });
  const double store = best_seconds([&] {
    CpuSegment& segment = *pass.segments[0];
    for (std::int64_t m = 0; m < kTokens; m += 16) {
      for (std::int64_t h = 0; h < s.kv_heads; ++h) {
        for (std::int64_t i = m; i < m + 16; ++i) {
          const float* row = pass.q.data() + i * s.heads * s.dim + h * s.dim;
          segment.store(0, h, i, row, row);
        }
      }
    }
  });
  const double swiglu = best_seconds([&] {
    for (std::int64_t i = 0; i < kTokens * s.intermediate; i += 72) {
      k.swiglu(gate.data() + i, up.data() + i, 72);
    }
  });
  const double attention = best_seconds([&] { pass.run(); }, 400);
  const double all = norms + head_norms + rope + store + swiglu + attention;
  const auto ms = [&](double seconds) { return 1e3 * seconds * static_cast<double>(s.layers); };
  const double macs = s.linear_macs() * kTokens;
  fmt::print(
      "{:<13} norms {:6.1f}  head norms {:6.1f}  rope {:6.1f}  store {:6.1f}  swiglu {:6.1f}  "
      "attention {:6.1f}  all {:7.1f} ms: {:4.1f} % beside 150 GMAC/s, {:4.1f} % beside 300\n",
      s.name, ms(norms), ms(head_norms), ms(rope), ms(store), ms(swiglu), ms(attention), ms(all),
      100 * all / (all + macs / 150e9), 100 * all / (all + macs / 300e9));
}

void attention_of(const ModelShape& s) {
  struct Load {
    const char* name;
    std::int64_t shared;
    int leaves;
    std::int64_t own;
  };
  const Load loads[] = {{"prompt of 512", 0, 1, 512},
                        {"context 100, 4 x 12", 100, 4, 12},
                        {"context 1000, 4 x 12", 1000, 4, 12},
                        {"one token after 1023", 1023, 1, 1},
                        {"one token after 8191", 8191, 1, 1}};
  for (const Load& load : loads) {
    double macs = 0;
    fmt::print("{:<13} {:<21}", s.name, load.name);
    for (const KvBits bits : {KvBits::k32, KvBits::k16, KvBits::k8, KvBits::k4}) {
      LayerPass pass(s, bits, load.shared, load.leaves, load.own);
      macs = 0;
      for (const RowPlace& place : pass.places) {
        macs += 2.0 * static_cast<double>((place.position + 1) * s.heads * s.dim);
      }
      const double seconds = best_seconds([&] { pass.run(); }, 400);
      fmt::print("  {:2} bits {:8.1f} us {:6.1f} GFMA/s", static_cast<int>(bits), seconds * 1e6,
                 macs / seconds * 1e-9);
    }
    fmt::print("\n");
  }
}

}  // namespace
}  // namespace qx

int main(int argc, char** argv) {
  const std::string_view only = argc > 1 ? argv[1] : "";
  if (only == "model") {
    fmt::print("{}, one thread, 512 tokens, all layers\n", qx::kernels().name);
    for (const auto& s : qx::kShapes) qx::prompt_of(s);
    fmt::print("\nattention of one layer\n");
    for (const auto& s : qx::kShapes) qx::attention_of(s);
    return 0;
  }
  const qx::KernelTables& all = qx::available_kernels();
  for (int t = 0; t < all.count; ++t) {
    if (only.empty() ? t > 0 : only == all.tables[t]->name) qx::kernels_of(*all.tables[t]);
  }
  return 0;
}
