// qx compare: the table, the paired statistics and the verdicts of two or more runs.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "compare/comparison.h"
#include "compare/render.h"
#include "compare/run_results.h"
#include "io/staged.h"
#include "options.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct CompareOptions {
  std::vector<std::string> runs;
  std::string baseline, metric = "default", format = "text", output;
  bool json = false, force = false, intersect = false;
};

std::size_t find_baseline(const std::vector<RunResults>& runs, const CompareOptions& options) {
  if (options.baseline.empty()) return 0;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    if (runs[r].name == options.baseline || options.runs[r] == options.baseline) return r;
  }
  std::string names;
  for (const RunResults& run : runs) names += (names.empty() ? "" : ", ") + run.name;
  throw UsageError(
      fmt::format("--baseline: got '{}', expected one of the runs: {}", options.baseline, names));
}

void compare(const CompareOptions& options) {
  const std::string format = options.json ? "json" : options.format;
  const Metric metric = parse_metric(options.metric);
  if (options.runs.size() < 2) throw UsageError("got one run, expected at least two to compare");
  if (!options.output.empty()) require_absent(options.output, options.force);
  LoadedRuns loaded =
      load_runs({options.runs.begin(), options.runs.end()}, metric, options.intersect);
  Comparison comparison = compare_runs(loaded.runs, find_baseline(loaded.runs, options));
  comparison.notes.insert(comparison.notes.begin(), loaded.notes.begin(), loaded.notes.end());

  const std::string text = format == "json"
                               ? dump_json(render_json(comparison), 2, false, false) + "\n"
                               : render_text(comparison);
  if (options.output.empty()) {
    fmt::print("{}", text);
  } else {
    write_file_atomic(options.output, text, options.force);
  }
}

}  // namespace

void add_compare(CLI::App& app) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* verb =
      app.add_subcommand("compare", "compare runs of qx eval item by item, with honest statistics");
  verb->add_option("RUNS", options->runs, "two or more folders RUNS/NAME that qx eval wrote")
      ->required();
  verb->add_option("--baseline", options->baseline,
                   "the run that the others are compared with, by name (default: the first)");
  verb->add_option("--metric", options->metric,
                   "default (acc_norm where a task has it, else acc), acc, acc_norm or acc_bytes")
      ->capture_default_str();
  verb->add_flag("--intersect", options->intersect,
                 "compare the items that all runs answered, where they answered different ones");
  verb->add_option("--format", options->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->add_option("-o,--output", options->output, "write to this file instead of stdout");
  verb->add_flag("--force", options->force, "replace the output file");
  verb->add_flag("--json", options->json, "the same as --format json");
  set_example(*verb, "qx compare runs/base runs/q4-hi runs/qx63-hi --baseline base");
  verb->callback([options] { compare(*options); });
}

}  // namespace qx::cli
