// qx compare: the table, the paired statistics and the verdicts of two or more runs.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/gate_error.h"
#include "compare/comparison.h"
#include "compare/flips.h"
#include "compare/gate.h"
#include "compare/junit.h"
#include "compare/render.h"
#include "compare/run_results.h"
#include "compare/unpaired.h"
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

namespace fs = std::filesystem;

// The runs of a command: those with answers per item, and those of which only accuracies are known.
struct Loaded {
  LoadedRuns items;
  std::vector<AccuracyRun> accuracies;
  std::vector<std::string> item_folders, accuracy_folders;  // as given
};

Loaded load(const CompareOptions& options, Metric metric) {
  Loaded loaded;
  for (const std::string& run : options.runs) {
    const bool only = fs::is_directory(run) && has_accuracies_only(run);
    (only ? loaded.accuracy_folders : loaded.item_folders).push_back(run);
    if (only) loaded.accuracies.push_back(load_accuracies(run));
  }
  if (!loaded.item_folders.empty()) {
    loaded.items = load_runs({loaded.item_folders.begin(), loaded.item_folders.end()}, metric,
                             options.intersect);
  }
  return loaded;
}

// Position of the baseline among runs of one kind; nothing when it is not there.
template <typename Run>
std::optional<std::size_t> find_run(const std::vector<Run>& runs,
                                    const std::vector<std::string>& folders,
                                    const std::string& wanted) {
  for (std::size_t r = 0; r < runs.size(); ++r) {
    if (runs[r].name == wanted || folders[r] == wanted) return r;
  }
  return std::nullopt;
}

struct Baseline {
  bool per_item = true;
  std::size_t index = 0;  // among the runs of its kind
};

Baseline find_baseline(const Loaded& loaded, const CompareOptions& options) {
  const std::string& wanted = options.baseline.empty() ? options.runs.front() : options.baseline;
  if (const auto r = find_run(loaded.items.runs, loaded.item_folders, wanted)) return {true, *r};
  if (const auto r = find_run(loaded.accuracies, loaded.accuracy_folders, wanted)) {
    return {false, *r};
  }
  std::string names;
  for (const RunResults& run : loaded.items.runs) names += (names.empty() ? "" : ", ") + run.name;
  for (const AccuracyRun& run : loaded.accuracies) names += (names.empty() ? "" : ", ") + run.name;
  throw UsageError(
      fmt::format("--baseline: got '{}', expected one of the runs: {}", wanted, names));
}

// Every run against the baseline where one of both knows accuracies only.
std::vector<UnpairedPair> unpaired(const Loaded& loaded, const Baseline& baseline, Metric metric) {
  std::vector<UnpairedPair> pairs;
  if (baseline.per_item && loaded.accuracies.empty()) return pairs;
  const AccuracyRun base = baseline.per_item ? accuracies_of(loaded.items.runs[baseline.index])
                                             : loaded.accuracies[baseline.index];
  if (!baseline.per_item) {
    for (const RunResults& run : loaded.items.runs) {
      pairs.push_back(compare_unpaired(base, accuracies_of(run), metric));
    }
  }
  for (std::size_t r = 0; r < loaded.accuracies.size(); ++r) {
    if (!baseline.per_item && r == baseline.index) continue;
    pairs.push_back(compare_unpaired(base, loaded.accuracies[r], metric));
  }
  return pairs;
}

ComparedRuns compare_loaded(const CompareOptions& options, Metric metric) {
  const Loaded loaded = load(options, metric);
  const Baseline baseline = find_baseline(loaded, options);
  ComparedRuns compared;
  compared.all_pairs = options.all_pairs;
  compared.baseline = baseline.per_item ? loaded.items.runs[baseline.index].name
                                        : loaded.accuracies[baseline.index].name;
  if (loaded.items.runs.size() >= 2 && baseline.per_item) {
    CompareSettings settings;
    settings.baseline = baseline.index;
    settings.margin = options.margin;
    compared.paired = compare_runs(loaded.items.runs, settings);
    compared.paired->notes.insert(compared.paired->notes.begin(), loaded.items.notes.begin(),
                                  loaded.items.notes.end());
  } else {
    compared.notes = loaded.items.notes;
    compared.notes.push_back(
        baseline.per_item
            ? "no other run than the baseline has answers per item, so nothing is paired"
            : fmt::format("the baseline {} has no answers per item, so nothing is paired",
                          compared.baseline));
  }
  compared.unpaired = unpaired(loaded, baseline, metric);
  if (options.flips) {
    if (!compared.paired) {
      fail("compare", "--flips needs answers per item of the baseline and another run");
    }
    compared.flips = all_flips(loaded.items.runs, baseline.index, *options.flips);
  }
  return compared;
}

std::string rendered(const ComparedRuns& compared, const std::string& format, bool colour) {
  if (format == "json") return dump_json(render_json(compared), 2, false, false) + "\n";
  if (format == "md") return render_markdown(compared);
  if (format == "html") return render_html(compared);
  if (format == "csv") return render_csv(compared);
  return render_text(compared, {kWidth, colour});
}

// What is wrong with the command line is said before anything is read.
std::vector<Gate> check_options(const CompareOptions& options) {
  if (options.runs.size() < 2) throw UsageError("got one run, expected at least two to compare");
  std::vector<Gate> gates;
  for (const std::string& gate : options.gates) gates.push_back(parse_gate(gate));
  if (!options.junit.empty()) {
    if (gates.empty()) throw UsageError("--junit: got no --gate, expected one to report on");
    if (options.junit == options.output) {
      throw UsageError("--junit: got the file of --output, expected another one");
    }
    require_absent(options.junit, options.force);
  }
  if (!options.output.empty()) require_absent(options.output, options.force);
  return gates;
}

void compare(const CompareOptions& options) {
  const std::string format = options.out.json ? "json" : options.format;
  const Metric metric = parse_metric(options.metric);
  const std::vector<Gate> gates = check_options(options);
  std::optional<std::int64_t> budget;
  if (!options.budget.empty()) budget = parse_bytes(options.budget, "--budget");
  ComparedRuns compared = compare_loaded(options, metric);
  compared.budget = budget;
  compared.gates =
      check_gates(compared.paired ? &*compared.paired : nullptr, compared.unpaired, gates);
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
