// A comparison for people (a terminal, Markdown, HTML) and for programs (JSON, CSV). Every format
// is made from the same values; the first three from one document (sections.cpp).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compare/comparison.h"
#include "compare/document.h"
#include "compare/flips.h"
#include "compare/gate.h"
#include "compare/unpaired.h"
#include "io/json.h"

namespace qx {

// All that one command compared.
struct ComparedRuns {
  std::string baseline;
  std::optional<Comparison> paired;             // the runs with answers per item, two or more
  std::vector<UnpairedPair> unpaired;           // the others
  std::optional<std::vector<TaskFlips>> flips;  // where asked for
  std::vector<GateResult> gates;
  std::vector<std::string> notes;      // why nothing is paired; else Comparison::notes says all
  std::optional<std::int64_t> budget;  // of memory, for the fastest run
  bool all_pairs = false;              // tables of the pairs without the baseline too
};

// The same with names and notes that cannot steer a terminal: folders and files may be called
// anything.
ComparedRuns presentable(ComparedRuns compared);

// Presentable; NaN is shown as "-".
ComparisonPage comparison_document(const ComparedRuns& compared);

std::string render_text(const ComparedRuns& compared, const PageStyle& style);
std::string render_markdown(const ComparedRuns& compared);
std::string render_html(const ComparedRuns& compared);

// One row for each task and run with answers per item, the baseline among them, under one row of
// names; plain numbers with a point, nothing where there is none; fields quoted as RFC 4180 says,
// lines end in a line feed.
std::string render_csv(const ComparedRuns& compared);

// The document of `qx compare --json`; a number that does not exist is null.
Json render_json(const ComparedRuns& compared);

// Of a comparison alone: 80 columns without colours.
std::string render_text(const Comparison& comparison);
Json render_json(const Comparison& comparison);

}  // namespace qx
