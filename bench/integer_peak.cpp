// SPDX-License-Identifier: Apache-2.0
#include "integer_peak.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string_view>

namespace qx {
namespace {

#if defined(__x86_64__)
constexpr std::int64_t kSteps = 200'000;
constexpr int kChains = 12;  // enough to hide the latency of four or five cycles on two ports

// One step of every chain, on registers 0 to 11, by name so that nothing is left to the compiler.
#define QX_CHAINS(step)                                                                          \
  __asm__ volatile(".irp r,0,1,2,3,4,5,6,7,8,9,10,11\n" step ".endr\n" ::                        \
                       : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
                         "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")

__attribute__((target("avx2"))) void run_avx2() {
  for (std::int64_t i = 0; i < kSteps; ++i) {
    QX_CHAINS(
        "vpmaddubsw %%ymm14, %%ymm15, %%ymm12\n"
        "vpmaddwd %%ymm13, %%ymm12, %%ymm12\n"
        "vpaddd %%ymm12, %%ymm\\r, %%ymm\\r\n");
  }
}

__attribute__((target("avx2"))) void run_avxvnni() {
  for (std::int64_t i = 0; i < kSteps; ++i) {
    QX_CHAINS("%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm\\r\n");
  }
}

__attribute__((target("avx512f,avx512vnni"))) void run_avx512() {
  for (std::int64_t i = 0; i < kSteps; ++i) {
    QX_CHAINS("vpdpbusd %%zmm14, %%zmm15, %%zmm\\r\n");
  }
}

double best_rate(void (*run)(), int products) {
  double best = 0;
  for (int repeat = 0; repeat < 100; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(kSteps) * kChains * products / took.count());
  }
  return best;
}
#endif

}  // namespace

double integer_peak(const char* table) {
#if defined(__x86_64__)
  if (std::string_view(table) == "avx512") return best_rate(run_avx512, 64);
  if (std::string_view(table) == "avxvnni") return best_rate(run_avxvnni, 32);
  if (std::string_view(table) == "avx2") return best_rate(run_avx2, 32);
#endif
  static_cast<void>(table);
  return 0;
}

}  // namespace qx
