// qx compare: the table, the paired statistics and the verdicts of two or more runs.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include "base/error.h"
#include "compare/comparison.h"
#include "compare/flips.h"
#include "compare/render.h"
#include "compare/run_results.h"
#include "compare/unpaired.h"
#include "io/staged.h"
#include "options.h"
#include "text/visible.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct CompareOptions {
  std::vector<std::string> runs;
  std::string baseline, metric = "default", format = "text", output;
  std::optional<std::string> flips;  // empty: of all tasks
  double margin = CompareSettings{}.margin;
  bool force = false, intersect = false;
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

struct Outcome {
  std::optional<Comparison> paired;
  std::vector<UnpairedPair> unpaired;
  std::vector<TaskFlips> flips;
  std::string baseline;
  std::vector<std::string> notes;  // when nothing is paired
};

Outcome make_outcome(const CompareOptions& options, Metric metric) {
  const Loaded loaded = load(options, metric);
  const Baseline baseline = find_baseline(loaded, options);
  Outcome outcome;
  outcome.baseline = baseline.per_item ? loaded.items.runs[baseline.index].name
                                       : loaded.accuracies[baseline.index].name;
  if (loaded.items.runs.size() >= 2 && baseline.per_item) {
    outcome.paired = compare_runs(loaded.items.runs, {baseline.index, options.margin});
    outcome.paired->notes.insert(outcome.paired->notes.begin(), loaded.items.notes.begin(),
                                 loaded.items.notes.end());
  } else {
    outcome.notes = loaded.items.notes;
    outcome.notes.push_back(
        baseline.per_item
            ? "no other run than the baseline has answers per item, so nothing is paired"
            : fmt::format("the baseline {} has no answers per item, so nothing is paired",
                          outcome.baseline));
  }
  outcome.unpaired = unpaired(loaded, baseline, metric);
  if (options.flips) {
    if (!outcome.paired) {
      fail("compare", "--flips needs answers per item of the baseline and another run");
    }
    outcome.flips = all_flips(loaded.items.runs, baseline.index, *options.flips);
  }
  return outcome;
}

std::string text_of(const Outcome& outcome, const CompareOptions& options) {
  std::string text = outcome.paired ? render_text(*outcome.paired) : "";
  if (!outcome.unpaired.empty()) {
    text += (text.empty() ? "" : "\n") + unpaired_text(outcome.unpaired);
  }
  for (const std::string& note : outcome.notes) text += "Note: " + note + "\n";
  if (options.flips) text += "\n" + flips_text(outcome.flips);
  return text;
}

Json json_of(const Outcome& outcome, const CompareOptions& options) {
  Json json = outcome.paired ? render_json(*outcome.paired)
                             : Json{{"baseline", outcome.baseline},
                                    {"tasks", Json::array()},
                                    {"notes", outcome.notes}};
  if (!outcome.unpaired.empty()) json["unpaired"] = unpaired_json(outcome.unpaired);
  if (options.flips) json["flips"] = flips_json(outcome.flips);
  return json;
}

void compare(const CompareOptions& options) {
  const std::string format = options.out.json ? "json" : options.format;
  const Metric metric = parse_metric(options.metric);
  if (options.runs.size() < 2) throw UsageError("got one run, expected at least two to compare");
  if (!options.output.empty()) require_absent(options.output, options.force);
  const Outcome outcome = make_outcome(options, metric);
  const std::string text = format == "json"
                               ? dump_json(json_of(outcome, options), 2, false, false) + "\n"
                               : text_of(outcome, options);
  if (options.output.empty()) {
    fmt::print("{}", format == "json" ? text : without_controls(text));
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
                   "default (acc_norm where a task has it, else acc), acc, acc_norm, acc_bytes or "
                   "acc_token")
      ->capture_default_str();
  verb->add_option("--margin", options->margin,
                   "differences of accuracy shown to be smaller than this count as equivalent")
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
  verb->add_option("--format", options->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->add_option("-o,--output", options->output, "write to this file instead of stdout");
  verb->add_flag("--force", options->force, "replace the output file");
  add_output_options(*verb, options->out);  // --json: the same as --format json
  set_example(*verb, "qx compare runs/base runs/q4-hi runs/qx63-hi --baseline base");
  verb->callback([options] { compare(*options); });
}

}  // namespace qx::cli
