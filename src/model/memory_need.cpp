// SPDX-License-Identifier: Apache-2.0
#include "model/memory_need.h"

#include <algorithm>

#include "base/error.h"
#include "io/checkpoint.h"

namespace qx {

namespace {

// A hostile context makes sizes near the end of the range.
std::int64_t times(std::int64_t bytes, int processes) {
  constexpr std::int64_t kMost = std::int64_t{1} << 61;
  return bytes > kMost / processes ? kMost : bytes * processes;
}

std::string needs_text(const MemoryNeeds& needs, std::int64_t context_tokens) {
  return fmt::format("{} of memory (weights {}, {} tokens of context {}, activations about {})",
                     bytes_text(needs.total()), bytes_text(needs.weights), context_tokens,
                     bytes_text(needs.cache), bytes_text(needs.activations));
}

}  // namespace

MemoryVerdict judge_memory(const MemoryNeeds& needs, const MachineMemory& machine) {
  if (machine.physical <= 0) return MemoryVerdict::kFits;
  const std::int64_t fixed = needs.cache + needs.activations;
  if (needs.total() > machine.physical || fixed > machine.available) return MemoryVerdict::kRefused;
  return needs.total() > machine.available ? MemoryVerdict::kTight : MemoryVerdict::kFits;
}

std::string check_memory(const std::string& place, const MemoryNeeds& needs,
                         std::int64_t context_tokens, const MachineMemory& machine,
                         bool allow_swap) {
  const MemoryVerdict verdict = judge_memory(needs, machine);
  if (verdict == MemoryVerdict::kFits) return {};
  const std::string figures =
      fmt::format("needs {}, available are {} of {}", needs_text(needs, context_tokens),
                  bytes_text(machine.available), bytes_text(machine.physical));
  if (verdict == MemoryVerdict::kRefused && !allow_swap) {
    std::string size = bytes_text(machine.physical);
    std::erase(size, ' ');  // as an option takes it
    fail(place,
         "{}; convert it by a smaller recipe (qx plan --fit {} says what fits), ask for fewer "
         "tokens, free memory, or add --allow-swap to run it from the disk, many times slower",
         figures, size);
  }
  return fmt::format("{}: {}; weights that do not fit are read from the disk for every token",
                     place, figures);
}

std::int64_t weight_file_bytes(const std::filesystem::path& directory) {
  std::int64_t bytes = 0;
  for (const std::filesystem::path& file : checkpoint_files(directory)) {
    std::error_code missing;  // the loader says so better
    const std::uintmax_t size = std::filesystem::file_size(file, missing);
    if (!missing) bytes += static_cast<std::int64_t>(size);
  }
  return bytes;
}

std::string check_memory(const std::filesystem::path& directory, const ModelConfig& config,
                         std::int64_t context_tokens, KvBits kv_bits, bool allow_swap,
                         std::int64_t rows, int processes) {
  MemoryNeeds needs = memory_needs(config, weight_file_bytes(directory), context_tokens,
                                   static_cast<int>(kv_bits), rows);
  needs.cache = times(needs.cache, processes);
  needs.activations = times(needs.activations, processes);
  const std::string place = processes == 1
                                ? directory.string()
                                : fmt::format("{} in {} processes", directory.string(), processes);
  return check_memory(place, needs, context_tokens, limited_memory(), allow_swap);
}

}  // namespace qx
