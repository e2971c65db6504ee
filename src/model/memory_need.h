// Whether a model fits in this machine's memory, asked before anything is loaded.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "arch/model_config.h"
#include "base/machine_memory.h"
#include "model/model.h"
#include "recipe/summary.h"

namespace qx {

enum class MemoryVerdict {
  kFits,
  kTight,    // others hold what it needs; the weights will be read from the disk again and again
  kRefused,  // can never be held as a whole, or would be killed
};

// Weights are mapped from files, so the system can drop their pages and read them again; context
// and activations it cannot drop. Refused: weights, context and activations exceed the physical
// memory, or context and activations alone exceed what is available. Tight: the whole exceeds what
// is available. An unknown machine (physical 0) takes everything.
MemoryVerdict judge_memory(const MemoryNeeds& needs, const MachineMemory& machine);

// The check that a verb makes before load_model. context_tokens: positions of all sequences that
// are held at once. rows: tokens of the largest forward pass. processes: so many of this machine
// run the model at once, with contexts and activations of their own; they share the mapped weights.
// QX_MEMORY_LIMIT (such as 8GB) in the environment lowers the machine's figures. Returns a warning
// with both figures, empty when the model fits. Fails: Error with both figures and what to do when
// refused, unless allow_swap turns that into the warning; a directory without weight files;
// UsageError for a QX_MEMORY_LIMIT that is no size.
std::string check_memory(const std::filesystem::path& directory, const ModelConfig& config,
                         std::int64_t context_tokens, KvBits kv_bits, bool allow_swap,
                         std::int64_t rows = kActivationRows, int processes = 1);

// Bytes of a model directory's weight files. Fails: Error when there are none.
std::int64_t weight_file_bytes(const std::filesystem::path& directory);

// The same with given figures, for weights without files and for tests.
std::string check_memory(const std::string& place, const MemoryNeeds& needs,
                         std::int64_t context_tokens, const MachineMemory& machine,
                         bool allow_swap);

}  // namespace qx
