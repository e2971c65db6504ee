// qx report: one self-contained HTML page about the runs of a model's variants.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "io/staged.h"
#include "options.h"
#include "report/gather.h"
#include "report/html.h"
#include "report/page_json.h"
#include "text/visible.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct ReportOptions {
  std::vector<std::string> runs, searches;
  std::string output, baseline, title, data, metric = "default";
  double margin = CompareSettings{}.margin;
  std::size_t flips = FlipSettings{}.per_task;
  bool force = false, intersect = false, no_errors = false;
  OutputOptions out;
  ComputeOptions compute;
};

void report(const ReportOptions& options) {
  ReportSettings settings;
  settings.baseline = options.baseline;
  settings.title = options.title;
  settings.metric = parse_metric(options.metric);
  settings.margin = options.margin;
  settings.intersect = options.intersect;
  settings.errors = !options.no_errors;
  settings.quiet = options.out.quiet;
  settings.flips.per_task = options.flips;
  if (!options.data.empty()) settings.flips.data = options.data;
  require_absent(options.output, options.force);
  const std::unique_ptr<ThreadPool> pool = start_compute(options.compute);

  std::vector<std::string> notes;
  const auto folders = report_folders(options.runs, notes);
  ReportPage page = gather_report(folders, settings, *pool);
  page.notes.insert(page.notes.begin(), notes.begin(), notes.end());
  for (const std::string& file : options.searches) page.searches.push_back(read_search(file));
  const std::string html = report_html(page_json(page), page.title);
  write_file_atomic(options.output, html, options.force);

  const std::string& baseline = page.comparison.runs[page.comparison.baseline].name;
  if (options.out.json) {
    const Json json{{"report", options.output},
                    {"bytes", html.size()},
                    {"baseline", baseline},
                    {"runs", page.comparison.runs.size()},
                    {"notes", page.notes}};
    fmt::print("{}\n", dump_json(json, 2, false, false));
  } else if (!options.out.quiet) {
    for (const std::string& note : page.notes) {
      fmt::print(stderr, "qx report: {}\n", without_controls(note));
    }
    fmt::print("{}: {} runs against {}, {:.1f} MB\n", without_controls(options.output),
               page.comparison.runs.size(), without_controls(baseline),
               static_cast<double>(html.size()) / 1e6);
  }
}

}  // namespace

void add_report(CLI::App& app) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* verb = app.add_subcommand(
      "report", "one self-contained HTML page: scores, differences, weights, flips to read");
  verb->add_option("RUNS", options->runs, "folders that qx eval wrote into, or runs RUNS/NAME")
      ->required();
  verb->add_option("-o,--output", options->output, "the page, an .html file")->required();
  verb->add_option("--baseline", options->baseline,
                   "the run that the others are compared with, by name (default: the one with the "
                   "most bits per weight)");
  verb->add_option("--metric", options->metric,
                   "default (acc_norm where a task has it, else acc), acc, acc_norm, acc_bytes or "
                   "acc_token")
      ->capture_default_str();
  add_margin_option(*verb, options->margin);
  verb->add_flag("--intersect", options->intersect,
                 "compare the items that all runs answered, where they answered different ones");
  verb->add_option("--title", options->title, "the page's title");
  verb->add_option("--flips", options->flips,
                   "how many flips to read of each variant and task; the others are counted")
      ->check(CLI::Range(0, 2000))
      ->capture_default_str();
  verb->add_option(
      "--data", options->data,
      "folder of TASK.jsonl with the questions (default: the files that the runs read)");
  verb->add_option("--search", options->searches,
                   "what qx search wrote beside its recipe (RECIPE.search.json): its curve of size "
                   "against divergence; several are allowed")
      ->expected(1)
      ->take_all();
  verb->add_flag("--no-errors", options->no_errors,
                 "leave out the error of each layer, which takes reading all weights");
  verb->add_flag("--force", options->force, "replace the output file");
  add_compute_options(*verb, options->compute);
  add_output_options(*verb, options->out);
  set_example(*verb, "qx report runs -o report.html");
  verb->callback([options] { report(*options); });
}

}  // namespace qx::cli
