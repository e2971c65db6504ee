// qx compare: the table, the paired statistics and the verdicts of two or more runs.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>
#include <optional>

#include "base/byte_size.h"
#include "base/error.h"
#include "base/gate_error.h"
#include "compare/compare_folders.h"
#include "compare/gate.h"
#include "compare/junit.h"
#include "compare/render.h"
#include "compare/run_results.h"
#include "io/staged.h"
#include "options.h"
#include "recipe/summary.h"
#include "terminal.h"
#include "verbs.h"

namespace qx::cli {
namespace {

constexpr int kWidth = 80;  // of text, on every terminal and in files

struct CompareOptions {
  std::vector<std::string> runs, gates;
  std::string baseline, metric = "default", format = "text", output, junit, budget;
  std::optional<std::string> flips;  // empty: of all tasks
  double margin = 0.01;
  bool force = false, intersect = false, all_pairs = false;
  OutputOptions out;
};

std::string rendered(const ComparedRuns& compared, const std::string& format, bool colour) {
  if (format == "json") return dump_json(render_json(compared), 2, false, false) + "\n";
  if (format == "md") return render_markdown(compared);
  if (format == "html") return render_html(compared);
  if (format == "csv") return render_csv(compared);
  return render_text(compared, {kWidth, colour});
}

// What is wrong with the command line is said before anything is read.
CompareRequest make_request(const CompareOptions& options) {
  CompareRequest request;
  request.runs = options.runs;
  request.baseline = options.baseline;
  request.metric = parse_metric(options.metric);
  request.margin = options.margin;
  request.intersect = options.intersect;
  request.all_pairs = options.all_pairs;
  request.flips = options.flips;
  for (const std::string& gate : options.gates) request.gates.push_back(parse_gate(gate));
  if (!options.budget.empty()) request.budget = parse_bytes(options.budget, "--budget");
  check_request(request);
  if (!options.junit.empty()) {
    if (options.gates.empty()) {
      throw UsageError("--junit: got no --gate, expected one to report on");
    }
    if (options.junit == options.output) {
      throw UsageError("--junit: got the file of --output, expected another one");
    }
    require_absent(options.junit, options.force);
  }
  if (!options.output.empty()) require_absent(options.output, options.force);
  return request;
}

void compare(const CompareOptions& options) {
  const std::string format = options.out.json ? "json" : options.format;
  const ComparedRuns compared = compare_folders(make_request(options));
  const bool to_stdout = options.output.empty();
  const std::string text = rendered(compared, format, to_stdout && colours_wanted());
  if (to_stdout) {
    fmt::print("{}", text);
  } else {
    write_file_atomic(options.output, text, options.force);
  }
  if (!options.junit.empty()) {
    write_file_atomic(options.junit, junit_xml(compared.gates, compared.baseline), options.force);
  }
  // The result stands, whatever the gates say.
  if (const std::string broken = broken_gates(compared.gates); !broken.empty()) {
    throw GateError(broken);
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
                   "default (acc_norm where a task has it, else acc), acc, acc_norm, acc_bytes or "
                   "acc_token")
      ->capture_default_str();
  verb->add_flag("--intersect", options->intersect,
                 "compare the items that all runs answered, where they answered different ones");
  verb->add_option_function<std::vector<std::string>>(
          "--flips",
          [options](const std::vector<std::string>& task) {
            options->flips = task.empty() || task[0] == "all" ? "" : task[0];
          },
          "list the items answered otherwise than by the baseline, of TASK or of all tasks; after "
          "RUNS")
      ->expected(0, 1)
      ->option_text("[TASK]");
  add_margin_option(*verb, options->margin);
  verb->add_option(
      "--budget", options->budget,
      "memory that the fastest recommended run may take at its peak, such as 5GB or 5GiB");
  verb->add_flag("--all-pairs", options->all_pairs,
                 "a table for each pair of variants too, not only against the baseline");
  verb->add_option("--gate", options->gates,
                   "exit 3 unless the 95 % bound keeps this limit, such as \"hellaswag>-0.01\", "
                   "\"q4-hi:average>-0.005\" or \"kl_mean<0.05\"; may be repeated")
      ->allow_extra_args(false)
      ->option_text("LIMIT");
  verb->add_option("--junit", options->junit, "write the gates' results to this file as JUnit XML");
  verb->add_option("--format", options->format, "text, md, json, csv or html")
      ->check(CLI::IsMember({"text", "md", "json", "csv", "html"}))
      ->capture_default_str();
  verb->add_option("-o,--output", options->output, "write to this file instead of stdout");
  verb->add_flag("--force", options->force, "replace the output files");
  add_output_options(*verb, options->out);  // --json: the same as --format json
  set_example(*verb, "qx compare runs/base runs/q4-hi runs/qx63-hi --baseline base");
  verb->callback([options] { compare(*options); });
}

}  // namespace qx::cli
