// How much memory this process may use.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>

namespace qx {

// In bytes. A control group's limit (version 1 or 2, of the process or of a parent) counts where it
// is lower than the machine's own figures. Memory that holds pages of files counts as available: it
// can be dropped.
struct MachineMemory {
  std::int64_t physical = 0;   // all that there is; 0: unknown
  std::int64_t available = 0;  // without what others, and this process so far, hold
};

// From /proc/meminfo, /proc/self/cgroup and /sys/fs/cgroup below `root`; where there is no meminfo
// (macOS), available is physical. Never fails: what cannot be read is left out.
MachineMemory machine_memory(const std::filesystem::path& root = "/");

// This machine's memory, lowered to QX_MEMORY_LIMIT (such as 8GB) of the environment. Fails: UsageError when
// that is no size.
MachineMemory limited_memory();

}  // namespace qx
