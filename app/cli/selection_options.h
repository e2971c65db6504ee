// Options that choose items: --limit --offset --sample --seed --indices --shard.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "tasks/selection.h"

namespace qx::cli {

struct SelectionOptions {
  std::int64_t limit = 0, offset = 0, sample = 0;  // 0: not given
  std::uint64_t seed = 0;
  std::string indices, shard;
};
// --limit, --sample and --indices exclude each other; --offset goes with the first two, --seed with
// --sample, --shard with all.
void add_selection_options(CLI::App& verb, SelectionOptions& options);
// Reads the file of indices. Fails: UsageError, Error.
Selection make_selection(const SelectionOptions& options);

}  // namespace qx::cli
