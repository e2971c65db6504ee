// Joins the run folders of shards (--shard i/n) into the folder that one unsharded run would have written.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "runs/run_record.h"

namespace qx {

struct MergedTask {
  std::string name;
  std::int64_t answered = 0, items = 0;
};

struct Merge {
  std::vector<MergedTask> tasks;
  std::int64_t shards = 0;           // that there are
  std::vector<std::string> missing;  // in words; empty when the run is whole
};

// Writes `output`: answers in item order, run.json, and when nothing is missing results.json, the same bytes as
// the unsharded run's but for its times (earlier_sessions lists the machines or builds that differ). When
// something is missing and `partial`, run.json says that the run has not ended, and qx eval without --shard
// goes on with it. Measurements (runs/measurements.h) come from the first shard that has them.
// Fails: Error when a folder holds no run or a broken one, is being written, is no shard, or is of another run
// (naming the first difference); when an item has two different answers, or the shards do not add up to the
// run; when something is missing and not `partial`; when the output exists and not `force`;
// with `force` when it is neither empty nor a run (run.json), or is, holds or lies in one of the shards.
Merge merge_runs(const std::vector<std::filesystem::path>& folders,
                 const std::filesystem::path& output, bool partial, bool force);

}  // namespace qx
