// A sequence that is kept, in a file: what was read in one run of the program need not be read in
// the next (model/kv_file.h has the format).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>

#include "generate/generate.h"
#include "io/json.h"
#include "model/kv_file.h"
#include "model/model.h"

namespace qx {

// All that keys and values depend on beside the tokens: SHA-256 of the model's weights and
// config.json, precision, bits, this program's version, and in fast the kernels (docs/kernels.md).
// Fails: Error as measure_model, whose hashes it takes.
Json kv_identity(const std::filesystem::path& directory, Precision precision, KvBits kv_bits);

// What the sequence held is replaced by the beginning of the file's only sequence, as much as fits;
// how many tokens that is. Fails: Error as KvFile::only_sequence and load; the file is one that
// require() took for this model.
std::int64_t restore_sequence(const KvFile& file, Model& model, KeptSequence& kept);

// facts: identity, the model's name, notes. The sequence is not empty. Fails: Error, as
// write_kv_file.
void save_sequence(const KeptSequence& kept, const std::filesystem::path& path,
                   const KvFileFacts& facts, bool replace);

}  // namespace qx
