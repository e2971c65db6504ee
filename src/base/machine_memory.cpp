// SPDX-License-Identifier: Apache-2.0
#include "base/machine_memory.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>

#include "base/byte_size.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace qx {
namespace {
namespace fs = std::filesystem;

// The number after a line's first word that equals `key`: "MemTotal:  16 kB", "inactive_file 4096".
std::optional<std::int64_t> value_of(const fs::path& file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string word;
    std::int64_t value = 0;
    if (words >> word && word == key && words >> value) return value;
  }
  return std::nullopt;
}

// A file of one number. "max" means no limit: nothing.
std::optional<std::int64_t> number_in(const fs::path& file) {
  std::ifstream in(file);
  std::int64_t value = 0;
  if (in >> value) return value;
  return std::nullopt;
}

struct CgroupFiles {
  const char *limit, *usage, *active_file, *inactive_file;
};
constexpr CgroupFiles kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes",
                                   "total_active_file", "total_inactive_file"};
constexpr CgroupFiles kVersion2 = {"memory.max", "memory.current", "active_file", "inactive_file"};

void apply_limit(const fs::path& group, const CgroupFiles& names, MachineMemory& memory) {
  const auto limit = number_in(group / names.limit);
  if (!limit || *limit <= 0) return;
  const std::int64_t files = value_of(group / "memory.stat", names.active_file).value_or(0) +
                             value_of(group / "memory.stat", names.inactive_file).value_or(0);
  const std::int64_t held =
      std::max<std::int64_t>(0, number_in(group / names.usage).value_or(0) - files);
  memory.physical = std::min(memory.physical, *limit);
  memory.available = std::min(memory.available, std::max<std::int64_t>(0, *limit - held));
}

// The group and its parents up to the mount; a container often sees its own group as the mount.
void apply_limits(const fs::path& mount, const std::string& group, const CgroupFiles& names,
                  MachineMemory& memory) {
  fs::path inner = fs::path(group).relative_path();
  while (!inner.empty()) {
    apply_limit(mount / inner, names, memory);
    inner = inner.parent_path();
  }
  apply_limit(mount, names, memory);
}

}  // namespace

MachineMemory machine_memory(const fs::path& root) {
  MachineMemory memory;
#if defined(__APPLE__)
  std::uint64_t bytes = 0;
  std::size_t size = sizeof bytes;
  if (root == "/" && ::sysctlbyname("hw.memsize", &bytes, &size, nullptr, 0) == 0) {
    memory.physical = memory.available = static_cast<std::int64_t>(bytes);
    return memory;
  }
#endif
  constexpr std::int64_t kUnknown = std::numeric_limits<std::int64_t>::max();
  const fs::path meminfo = root / "proc/meminfo";
  const auto total = value_of(meminfo, "MemTotal:");
  memory.physical = total ? *total * 1024 : kUnknown;
  const auto available = value_of(meminfo, "MemAvailable:");
  memory.available = available ? *available * 1024 : memory.physical;

  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:memory:/a/b", "0::/a/b"
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first == std::string::npos ? first : first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string group = line.substr(second + 1);
    if (controllers == ",,") apply_limits(root / "sys/fs/cgroup", group, kVersion2, memory);
    if (controllers.find(",memory,") != std::string::npos) {
      apply_limits(root / "sys/fs/cgroup/memory", group, kVersion1, memory);
    }
  }
  memory.available = std::min(memory.available, memory.physical);
  if (memory.physical == kUnknown) memory = {};
  return memory;
}

MachineMemory limited_memory() {
  MachineMemory machine = machine_memory();
  const bool known = machine.physical > 0;  // nothing available is a figure too
  if (const char* text = std::getenv("QX_MEMORY_LIMIT"); text != nullptr && *text != '\0') {
    const std::int64_t limit = parse_bytes(text, "QX_MEMORY_LIMIT");
    machine.physical = known ? std::min(machine.physical, limit) : limit;
    machine.available = known ? std::min(machine.available, limit) : limit;
  }
  return machine;
}

}  // namespace qx
