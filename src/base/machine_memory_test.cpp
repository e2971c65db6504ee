// SPDX-License-Identifier: Apache-2.0
#include "base/machine_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

// A root folder with the kernel's files as given.
class Machine {
 public:
  Machine() {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_XXXXXX").string();
    if (::mkdtemp(pattern.data()) != nullptr) root_ = pattern;
    put("proc/meminfo",
        "MemTotal:       16777216 kB\nMemFree:         1048576 kB\nMemAvailable:   12582912 kB\n");
  }
  ~Machine() { fs::remove_all(root_); }
  void put(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void expect(std::int64_t physical, std::int64_t available) const {
    const MachineMemory memory = machine_memory(root_);
    EXPECT_EQ(memory.physical, physical);
    EXPECT_EQ(memory.available, available);
  }
  fs::path root_;
};

TEST(MachineMemory, WithoutGroupsTheMachinesFigures) {
  Machine machine;
  machine.expect(16 * kGiB, 12 * kGiB);
  machine.put("proc/meminfo", "MemTotal:       16777216 kB\n");
  machine.expect(16 * kGiB, 16 * kGiB);
  machine.put("proc/meminfo", "");
  machine.expect(0, 0);
}

TEST(MachineMemory, TheLowestLimitOfAGroupAndItsParentsCounts) {
  Machine machine;
  machine.put("proc/self/cgroup", "0::/user/qx\n");
  machine.put("sys/fs/cgroup/user/qx/memory.max", "max\n");
  machine.expect(16 * kGiB, 12 * kGiB);
  machine.put("sys/fs/cgroup/user/memory.max", std::to_string(4 * kGiB));
  machine.put("sys/fs/cgroup/user/memory.current", std::to_string(3 * kGiB));
  machine.put("sys/fs/cgroup/user/memory.stat", "anon " + std::to_string(kGiB) + "\nactive_file " +
                                                    std::to_string(kGiB) + "\ninactive_file " +
                                                    std::to_string(kGiB) + "\n");
  machine.expect(4 * kGiB, 3 * kGiB);
  machine.put("sys/fs/cgroup/user/qx/memory.max", std::to_string(2 * kGiB));
  machine.expect(2 * kGiB, 2 * kGiB);
  // A limit beyond the machine is none.
  machine.put("sys/fs/cgroup/user/qx/memory.max", std::to_string(64 * kGiB));
  machine.put("sys/fs/cgroup/user/memory.max", std::to_string(64 * kGiB));
  machine.expect(16 * kGiB, 12 * kGiB);
}

TEST(MachineMemory, VersionOneAndContainersThatSeeTheirGroupAsTheMount) {
  Machine machine;
  machine.put("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n");
  machine.put("sys/fs/cgroup/memory/memory.limit_in_bytes", std::to_string(kGiB));
  machine.put("sys/fs/cgroup/memory/memory.usage_in_bytes", std::to_string(2 * kGiB));
  machine.put("sys/fs/cgroup/memory/memory.stat",
              "total_inactive_file " + std::to_string(kGiB + kGiB / 2) + "\n");
  machine.expect(kGiB, kGiB / 2);
}

TEST(MachineMemory, ThisMachineHasSome) {
  const MachineMemory memory = machine_memory();
  EXPECT_GT(memory.physical, 0);
  EXPECT_GT(memory.available, 0);
  EXPECT_LE(memory.available, memory.physical);
}

}  // namespace
}  // namespace qx
