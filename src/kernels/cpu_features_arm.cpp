// What the operating system says of the processor: reading the identification registers is not for
// user programs. All aarch64 processors have NEON, which needs no check.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu_features.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#include <sys/types.h>

#include <cstddef>
#elif defined(__linux__)
#include <sys/auxv.h>
#endif

namespace qx {

#if defined(__APPLE__)
namespace {

// False where the name is unknown, as on systems that are older than the feature.
bool has_feature(const char* name) {
  int value = 0;
  std::size_t size = sizeof value;
  return ::sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}

}  // namespace

CpuFeatures detect_cpu_features() {
  CpuFeatures features;
  features.dotprod = has_feature("hw.optional.arm.FEAT_DotProd");
  features.i8mm = features.dotprod && has_feature("hw.optional.arm.FEAT_I8MM");
  return features;
}
#elif defined(__linux__)
CpuFeatures detect_cpu_features() {
  // Documentation/arch/arm64/elf_hwcaps.rst; older headers lack the names.
  constexpr unsigned long kAsimdDp = 1ul << 20;  // HWCAP_ASIMDDP
  constexpr unsigned long kI8mm = 1ul << 13;     // HWCAP2_I8MM
  CpuFeatures features;
  features.dotprod = (::getauxval(AT_HWCAP) & kAsimdDp) != 0;
  features.i8mm = features.dotprod && (::getauxval(AT_HWCAP2) & kI8mm) != 0;
  return features;
}
#else
CpuFeatures detect_cpu_features() {
  return {};
}
#endif

}  // namespace qx
