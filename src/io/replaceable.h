// What a directory may be made in place of: not what it is made from, nor anything it does not look like.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

namespace qx {

// Whether a path is a directory or lies in it. Both canonical.
bool is_within(const std::filesystem::path& path, const std::filesystem::path& directory);

// Before a model directory is made at `target`. inputs: the files and directories that are read for it;
// empty names and absent files are passed over. Fails: Error, where something is at `target` and
//   - force is off;
//   - it is an input, or holds one, or is or holds the working directory: --force would delete these;
//   - it is neither empty nor a model directory (one with a config.json).
void require_replaceable(const std::filesystem::path& target, bool force,
                         const std::vector<std::filesystem::path>& inputs);

}  // namespace qx
