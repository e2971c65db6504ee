// SPDX-License-Identifier: Apache-2.0
#include "report/gather.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <system_error>

#include "base/build_info.h"
#include "base/error.h"
#include "base/progress.h"
#include "compare/unpaired.h"
#include "compare/words.h"
#include "eval/recorded_run.h"
#include "runs/run_list.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

// Conditions that the page shows elsewhere, or that no reader needs.
bool hidden_condition(const std::string& key) {
  return key == "name" || key.starts_with("earlier_sessions");
}

std::string plain_text(const Json& value) {
  if (value.is_null()) return "none";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return fmt::format("{:.6g}", value.get<double>());
  return value.dump();
}

// Members of nested objects become "model.path"; arrays stay on one line.
void flatten(const Json& object, const std::string& prefix,
             std::vector<std::pair<std::string, std::string>>& out) {
  for (const auto& [key, value] : object.items()) {
    const std::string name = prefix + key;
    if (hidden_condition(name)) continue;
    if (value.is_object()) {
      flatten(value, name + ".", out);
    } else {
      out.emplace_back(name, plain_text(value));
    }
  }
}

std::vector<Condition> conditions_of(const std::vector<RecordedRun>& runs) {
  std::vector<Condition> conditions;
  std::map<std::string, std::size_t> places;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    std::vector<std::pair<std::string, std::string>> entries;
    flatten(runs[r].run(), "", entries);
    for (auto& [key, value] : entries) {
      const auto [place, is_new] = places.try_emplace(key, conditions.size());
      if (is_new) conditions.push_back({key, std::vector<std::string>(runs.size())});
      conditions[place->second].values[r] = std::move(value);
    }
  }
  return conditions;
}

std::size_t find_baseline(const std::vector<RunResults>& runs, const std::string& wanted) {
  std::size_t found = runs.size();
  for (std::size_t r = 0; r < runs.size(); ++r) {
    if (wanted.empty()) {
      if (found == runs.size() ||
          runs[r].bits_per_weight.value_or(0) > runs[found].bits_per_weight.value_or(0)) {
        found = r;
      }
    } else if (runs[r].name == wanted) {
      found = r;
    }
  }
  if (found < runs.size()) return found;
  std::string names;
  for (const RunResults& run : runs) names += (names.empty() ? "" : ", ") + run.name;
  throw UsageError(
      fmt::format("--baseline: got '{}', expected one of the runs: {}", wanted, names));
}

// The baseline first, then by falling bits per weight, those that do not know theirs last. Returns
// the folders in the order that the runs have then.
std::vector<fs::path> put_in_order(std::vector<RunResults>& runs,
                                   const std::vector<fs::path>& given, const std::string& wanted) {
  const std::size_t baseline = find_baseline(runs, wanted);
  std::vector<std::size_t> order(runs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto key = [&](std::size_t r) {
    return std::pair(r != baseline, -runs[r].bits_per_weight.value_or(0));
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
  std::vector<RunResults> sorted;
  std::vector<fs::path> folders;
  for (const std::size_t r : order) {
    sorted.push_back(std::move(runs[r]));
    folders.push_back(given[r]);
  }
  runs = std::move(sorted);
  return folders;
}

// Why the directory that a run recorded cannot be read any more; "" when it can.
std::string model_gone(const RecordedRun& run) {
  const fs::path directory = run.model_directory();
  std::error_code ignored;
  if (directory.empty()) return "run.json names no model directory";
  if (!fs::is_directory(directory, ignored)) {
    return fmt::format("the model directory {} is not there any more", directory.string());
  }
  try {
    const std::string difference = model_difference(run, directory);
    if (difference.empty()) return "";
    return fmt::format("the model in {} is not the one that answered: {}", directory.string(),
                       difference);
  } catch (const Error& error) {
    return error.what();
  }
}

// The models of all runs as they lie on the disk, each read once.
struct Models {
  std::vector<std::string> missing;  // "": measured
  std::vector<std::optional<MeasuredDirectory>> measured;
};

Models measure_models(const std::vector<RecordedRun>& runs) {
  Models models;
  for (const RecordedRun& run : runs) {
    models.missing.push_back(model_gone(run));
    models.measured.emplace_back();
    if (!models.missing.back().empty()) continue;
    try {
      models.measured.back() = measure_directory(run.model_directory());
    } catch (const Error& error) {
      models.missing.back() = error.what();
    }
  }
  return models;
}

bool is_quantized(const MeasuredDirectory& directory) {
  return std::any_of(directory.rows.begin(), directory.rows.end(),
                     [](const MeasuredRow& row) { return row.is_stored && row.mode != "float"; });
}

LayerErrors errors_of(const RecordedRun& run, const MeasuredDirectory& directory,
                      const RecordedRun& base, ThreadPool& pool, bool quiet) {
  try {
    return layer_errors(run.name(), directory,
                        measure_errors(run.model_directory(), base.model_directory(), pool, quiet));
  } catch (const Error& error) {
    return {run.name(), error.what(), 0, {}, {}, {}};
  }
}

std::vector<LayerErrors> all_errors(const std::vector<RecordedRun>& runs, const Models& models,
                                    std::size_t baseline, ThreadPool& pool, bool quiet) {
  std::vector<LayerErrors> all;
  std::string no_source = models.missing[baseline];
  if (no_source.empty() && is_quantized(*models.measured[baseline])) {
    no_source =
        fmt::format("the baseline {} is itself quantized, so it is no source to measure from",
                    runs[baseline].name());
  }
  for (std::size_t r = 0; r < runs.size(); ++r) {
    if (r == baseline) continue;
    const std::string& missing = no_source.empty() ? models.missing[r] : no_source;
    all.push_back(missing.empty()
                      ? errors_of(runs[r], *models.measured[r], runs[baseline], pool, quiet)
                      : LayerErrors{runs[r].name(), missing, 0, {}, {}, {}});
  }
  return all;
}

void add_weights(ReportPage& page, const std::vector<RecordedRun>& runs,
                 const ReportSettings& settings, ThreadPool& pool) {
  const Models models = measure_models(runs);
  for (std::size_t r = 0; r < runs.size(); ++r) {
    if (models.measured[r]) {
      page.weights.push_back(weight_map(runs[r].name(), *models.measured[r]));
    } else {
      page.weights.emplace_back();
      page.weights.back().run = runs[r].name();
      page.weights.back().missing = models.missing[r];
    }
  }
  if (settings.errors) {
    page.errors = all_errors(runs, models, page.comparison.baseline, pool, settings.quiet);
  }
}

void add_frontiers(ReportPage& page) {
  std::vector<std::optional<double>> bytes, seconds;
  for (const RunInfo& run : page.comparison.runs) {
    bytes.push_back(run.tensor_bytes ? std::optional(static_cast<double>(*run.tensor_bytes))
                                     : std::nullopt);
    const bool known = run.speed && run.speed->decode_tps > 0;
    seconds.push_back(known ? std::optional(1 / run.speed->decode_tps) : std::nullopt);
  }
  page.by_size = find_frontier(page.comparison, bytes);
  page.by_speed = find_frontier(page.comparison, seconds);
}

std::vector<std::string> words_of(const Comparison& comparison) {
  std::vector<std::string> words;
  for (const PairSummary& pair : comparison.against_baseline) {
    words.push_back(pair_sentence(comparison, pair));
  }
  for (std::string more : {groups_sentence(comparison), uninformative_sentence(comparison)}) {
    if (!more.empty()) words.push_back(std::move(more));
  }
  return words;
}

std::string program_text() {
  const BuildInfo& build = build_info();
  return fmt::format("qx {} (commit {}{})", build.version, build.commit.substr(0, 12),
                     build.dirty ? ", with uncommitted changes" : "");
}

}  // namespace

std::vector<fs::path> report_folders(const std::vector<std::string>& arguments,
                                     std::vector<std::string>& notes) {
  std::vector<fs::path> folders;
  const auto add = [&](const fs::path& folder) {
    if (has_accuracies_only(folder)) {
      notes.push_back(fmt::format(
          "{} is left out: only its accuracies are known, and the page pairs answers item by item; "
          "qx compare shows it",
          folder.string()));
      return;
    }
    folders.push_back(folder);
  };
  for (const std::string& argument : arguments) {
    std::error_code ignored;
    if (fs::exists(fs::path(argument) / "run.json", ignored)) {
      add(argument);
      continue;
    }
    const RunList list = list_runs(argument);
    for (const BrokenRun& broken : list.broken) {
      notes.push_back(fmt::format("{} is left out: {}", broken.folder.string(), broken.error));
    }
    if (list.runs.empty()) fail(argument, "holds no runs, expected folders RUNS/NAME of qx eval");
    for (const RunEntry& run : list.runs) add(run.folder);
  }
  return folders;
}

ReportPage gather_report(const std::vector<fs::path>& given, const ReportSettings& settings,
                         ThreadPool& pool) {
  if (given.size() < 2) {
    throw UsageError(fmt::format("got {} with answers per item, expected at least two to compare",
                                 given.size() == 1 ? "one run" : "no run"));
  }
  LoadedRuns loaded = load_runs(given, settings.metric, settings.intersect);
  const std::vector<fs::path> folders = put_in_order(loaded.runs, given, settings.baseline);
  const std::size_t baseline = 0;
  ReportPage page;
  CompareSettings how;
  how.baseline = baseline;
  how.margin = settings.margin;
  page.comparison = compare_runs(loaded.runs, how);
  page.comparison.notes.insert(page.comparison.notes.begin(), loaded.notes.begin(),
                               loaded.notes.end());
  page.program = program_text();
  page.title = settings.title.empty()
                   ? fmt::format("Variants of {} compared", loaded.runs[baseline].name)
                   : settings.title;
  page.words = words_of(page.comparison);
  page.matrix = verdict_matrix(page.comparison);
  page.groups = find_groups(page.comparison);
  page.recommendations = recommend(page.comparison);

  std::vector<RecordedRun> runs;
  for (const fs::path& folder : folders) runs.emplace_back(folder);
  page.conditions = conditions_of(runs);
  add_frontiers(page);
  page.flips = flips_to_read(loaded.runs, baseline, folders, settings.flips);
  add_weights(page, runs, settings, pool);
  return page;
}

}  // namespace qx
