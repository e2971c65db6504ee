// Gathers a report page from run folders and what lies beside them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "compare/run_results.h"
#include "report/page.h"

namespace qx {

struct ReportSettings {
  std::string
      baseline;  // a run's name; "": the run with the most bits per weight, the first of equal ones
  std::string title;  // "": made from the baseline's name
  Metric metric = Metric::kDefault;
  double margin = 0.01;  // of equivalence, in accuracy
  bool intersect = false, errors = true, quiet = false;
  FlipSettings flips;
};

// The run folders that an argument stands for: itself when it holds run.json, else those below it;
// runs of which only accuracies are known are left out with a note. Fails: Error when there is
// none.
std::vector<std::filesystem::path> report_folders(const std::vector<std::string>& arguments,
                                                  std::vector<std::string>& notes);

// given: at least two run folders. On the page the baseline comes first, then the others by falling
// bits per weight. What is not there (models, measurements, data) becomes a note on the page.
// Progress of reading weights goes to stderr unless quiet.
// Fails: as load_runs() and compare_runs(); UsageError for an unknown baseline.
ReportPage gather_report(const std::vector<std::filesystem::path>& given,
                         const ReportSettings& settings, ThreadPool& pool);

}  // namespace qx
