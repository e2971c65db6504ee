// SPDX-License-Identifier: Apache-2.0
#include "cluster/launcher.h"

#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace qx {
namespace {

std::optional<int> number(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return {};
  int value = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, value);
  if (error != std::errc() || rest != end || value < 0) return {};
  return value;
}

}  // namespace

std::optional<Launch> find_launch() {
  // A process that initialized MPI on its own (as mlx and other Python packages do) hands PMIX_RANK=0 down to
  // what it starts. That is no launcher.
  const char* singleton = std::getenv("OMPI_MCA_ess");
  if (singleton != nullptr && std::strcmp(singleton, "singleton") == 0) return {};
  struct Variables {
    const char *launcher, *rank, *size;
  };
  constexpr Variables kKnown[] = {{"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                  {"PMI", "PMI_RANK", "PMI_SIZE"},
                                  {"PMIx", "PMIX_RANK", "SLURM_STEP_NUM_TASKS"}};
  for (const Variables& known : kKnown) {
    const std::optional<int> rank = number(known.rank), size = number(known.size);
    if (rank && size) return Launch{known.launcher, *rank, *size};
  }
  return {};
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

}  // namespace qx
