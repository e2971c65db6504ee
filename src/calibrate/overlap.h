// How much of what a calibration read comes back in what a model is judged by.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fit/ngram_sketch.h"
#include "tasks/dataset.h"

namespace qx {

struct TaskOverlap {
  std::string task, file;
  std::int64_t items = 0;   // rows of the data file
  std::int64_t judged = 0;  // those with 13 words or more
  std::int64_t shared = 0;  // of these, with a run of 13 words that the calibration has too
};

// All strings of each row count. Rows that are not JSON are passed over: reading them is eval's
// matter. rows: JSON lines.
TaskOverlap overlap_of_rows(const NgramSketch& sketch, std::string task, std::string file,
                            std::string_view rows);

// Of tasks whose data are found as eval finds them; others are left out.
std::vector<TaskOverlap> task_overlaps(const NgramSketch& sketch,
                                       std::span<const Task* const> tasks,
                                       const std::optional<std::filesystem::path>& data_directory);

// "of 300 items of arc_easy, 2 share a run of 13 words with the calibration text"; empty when none does.
std::string overlap_text(const TaskOverlap& overlap);

}  // namespace qx
