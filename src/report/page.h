// What a report page shows, as plain structures: gathered by gather.h, written as JSON by
// page_json.h, laid into the page by html.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compare/comparison.h"
#include "compare/groups.h"
#include "compare/recommend.h"
#include "report/flips_to_read.h"
#include "report/frontier.h"
#include "report/weight_maps.h"
#include "search/search_file.h"

namespace qx {

// One key of run.json (dots join nested ones) and what each run says; "" where a run lacks the key.
struct Condition {
  std::string key;
  std::vector<std::string> values;  // in the order of Comparison::runs
};

struct ReportPage {
  std::string title, program;  // "qx 0.1.0 (commit ..)"
  Comparison comparison;
  std::vector<std::string> words;  // sentences of compare/words.h
  VerdictMatrix matrix;
  Groups groups;
  std::vector<Recommendation> recommendations;
  std::vector<FrontierPoint> by_size, by_speed;
  std::vector<WeightMap> weights;      // one per run
  std::vector<LayerErrors> errors;     // one per run other than the baseline; none with --no-errors
  std::vector<SearchRecord> searches;  // as given with --search
  FlipsToRead flips;
  std::vector<Condition> conditions;
  std::vector<std::string> notes;  // what the page lacks, and how to get it
};

}  // namespace qx
