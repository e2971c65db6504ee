// SPDX-License-Identifier: Apache-2.0
#include "compare/compare_folders.h"

#include <filesystem>
#include <map>
#include <utility>

#include "base/error.h"
#include "compare/flips.h"
#include "compare/unpaired.h"
#include "runs/run_record.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// The runs of a command: those with answers per item, and those of which only accuracies are known.
struct LoadedFolders {
  LoadedRuns items;
  std::vector<AccuracyRun> accuracies;
  std::vector<std::string> item_folders, accuracy_folders;  // as given
};

LoadedFolders load_folders(const CompareRequest& request) {
  LoadedFolders loaded;
  for (const std::string& run : request.runs) {
    const bool only = fs::is_directory(run) && has_accuracies_only(run);
    (only ? loaded.accuracy_folders : loaded.item_folders).push_back(run);
    if (only) loaded.accuracies.push_back(load_accuracies(run));
  }
  loaded.items = load_runs({loaded.item_folders.begin(), loaded.item_folders.end()}, request.metric,
                           request.intersect,
                           {loaded.accuracy_folders.begin(), loaded.accuracy_folders.end()});
  return loaded;
}

// Whatever is said of a run is said by its name, of runs with answers and without alike.
void check_names(const std::vector<std::string>& folders) {
  std::map<std::string, std::string> seen;
  for (const std::string& folder : folders) {
    const auto [other, added] = seen.emplace(run_name(folder), folder);
    if (added) continue;
    throw UsageError(fmt::format(
        "two runs are called '{}', expected different names: {} and {}; rename one of the folders",
        other->first, other->second, folder));
  }
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

struct BaselineAt {
  bool per_item = true;
  std::size_t index = 0;  // among the runs of its kind
};

BaselineAt find_baseline(const LoadedFolders& loaded, const CompareRequest& request) {
  const std::string& wanted = request.baseline.empty() ? request.runs.front() : request.baseline;
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
std::vector<UnpairedPair> unpaired(const LoadedFolders& loaded, const BaselineAt& baseline,
                                   Metric metric) {
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

}  // namespace

void check_request(const CompareRequest& request) {
  if (request.runs.size() < 2) throw UsageError("got one run, expected at least two to compare");
  if (!(request.margin > 0 && request.margin < 1)) {
    throw UsageError(fmt::format(
        "--margin: got {}, expected a difference of accuracies between 0 and 1: one point is 0.01",
        request.margin));
  }
  check_names(request.runs);
}

ComparedRuns compare_folders(const CompareRequest& request) {
  check_request(request);
  const LoadedFolders loaded = load_folders(request);
  const BaselineAt baseline = find_baseline(loaded, request);
  ComparedRuns compared;
  compared.all_pairs = request.all_pairs;
  compared.baseline = baseline.per_item ? loaded.items.runs[baseline.index].name
                                        : loaded.accuracies[baseline.index].name;
  if (loaded.items.runs.size() >= 2 && baseline.per_item) {
    CompareSettings settings;
    settings.baseline = baseline.index;
    settings.margin = request.margin;
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
  compared.unpaired = unpaired(loaded, baseline, request.metric);
  if (request.flips) {
    if (!compared.paired) {
      fail("compare", "--flips needs answers per item of the baseline and another run");
    }
    compared.flips = all_flips(loaded.items.runs, baseline.index, *request.flips);
  }
  compared.budget = request.budget;
  compared.gates =
      check_gates(compared.paired ? &*compared.paired : nullptr, compared.unpaired, request.gates);
  return compared;
}

}  // namespace qx
