// SPDX-License-Identifier: Apache-2.0
#include "card/facts.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/mapped_file.h"
#include "card/card_text.h"
#include "compare/run_results.h"
#include "compare/unpaired.h"
#include "recipe/directory_map.h"
#include "runs/run_record.h"
#include "text/chat_template.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPlanFile = "qx_plan.json";
constexpr std::size_t kMaxPlanBytes = std::size_t{64} << 20;

// A value that may be one text or a list of them; anything else is an error.
std::vector<std::string> texts(const Json& value, const std::string& place, const char* key) {
  if (value.is_null()) return {};
  if (value.is_string()) return {value.get<std::string>()};
  std::vector<std::string> out;
  if (value.is_array()) {
    for (const Json& one : value) {
      if (!one.is_string()) break;
      out.push_back(one.get<std::string>());
    }
  }
  if (!value.is_array() || out.size() != value.size()) {
    fail(place, "key '{}': got {}, expected a text or a list of texts", key,
         dump_json(value, -1, false, true).substr(0, 80));
  }
  return out;
}

std::string first_text(const Json& value, const std::string& place, const char* key) {
  const std::vector<std::string> all = texts(value, place, key);
  return all.empty() ? "" : all.front();
}

std::set<std::string> weight_hashes(const Json& model) {
  std::set<std::string> hashes;
  const Json& files = json_member(model, "files");
  if (!files.is_object()) return hashes;
  for (const auto& [name, hash] : files.items()) {
    if (name.ends_with(".safetensors") && hash.is_string()) hashes.insert(hash.get<std::string>());
  }
  return hashes;
}

std::set<std::string> source_hashes(const Json& provenance) {
  std::set<std::string> hashes;
  const Json& files = json_member(json_member(provenance, "source"), "files");
  if (!files.is_array()) return hashes;
  for (const Json& file : files) {
    const Json& hash = json_member(file, "sha256");
    if (hash.is_string()) hashes.insert(hash.get<std::string>());
  }
  return hashes;
}

void find_base(CardFacts& facts, const CardRequest& request) {
  if (facts.model) {
    const std::set<std::string> source = source_hashes(facts.model->provenance);
    for (std::size_t r = 0; !source.empty() && !facts.base && r < facts.self(); ++r) {
      if (weight_hashes(json_member(facts.runs[r].run, "model")) == source) facts.base = r;
    }
    facts.base_is_proven = facts.base.has_value();
  }
  if (request.base.empty()) return;
  std::string names;
  for (std::size_t r = 0; r < facts.self(); ++r) {
    names += (r > 0 ? ", " : "") + facts.runs[r].name;
    if (facts.runs[r].name != request.base) continue;
    if (facts.base_is_proven && facts.base != r) {
      fail(request.base, "is not what {} was made from: the source's hashes are those of {}",
           facts.own().name, facts.runs[*facts.base].name);
    }
    facts.base = r;
    return;
  }
  throw UsageError(fmt::format("--base: got '{}', expected one of the runs of --with: {}",
                               request.base, names.empty() ? "none is given" : names));
}

CardRun read_run(const fs::path& folder) {
  if (fs::is_directory(folder) && has_accuracies_only(folder)) {
    fail(folder.string(), "holds accuracies only, expected answers per item (a run of qx eval)");
  }
  CardRun run;
  run.name = run_name(folder);
  run.folder = folder;
  const RunRecord record = read_run_record(folder);
  if (record.shard.count > 1) {
    fail(folder.string(), "is one shard of a run, expected a whole run (qx merge-runs)");
  }
  run.run = record.json;
  run.speed = load_speed(folder);
  run.distance = load_distance(folder);
  if (run.distance) run.distance_record = read_json_file(folder / kDistanceFile, kMaxPlanBytes);
  return run;
}

Comparison compare(std::vector<RunResults> runs, std::size_t baseline, double margin) {
  const bool alone = runs.size() == 1;
  if (alone) {
    runs.push_back(runs.front());
    runs.back().name += "\n";  // no folder has such a name
  }
  CompareSettings settings;
  settings.baseline = baseline;
  settings.margin = margin;
  return compare_runs(runs, settings);
}

void add_results(CardFacts& facts, const RunResults& run) {
  for (const auto& [task, results] : run.tasks) {
    TaskMetric metric{results.metric, 0, static_cast<std::int64_t>(results.items.size())};
    for (const ItemResult& item : results.items) metric.right += item.right ? 1 : 0;
    std::vector<TaskMetric>& list = facts.results[task];
    const bool known = std::any_of(list.begin(), list.end(),
                                   [&](const TaskMetric& m) { return m.metric == metric.metric; });
    if (!known) list.push_back(metric);
  }
}

fs::path model_path(const Json& run) {
  const Json& path = json_member(json_member(run, "model"), "path");
  return path.is_string() ? fs::path(path.get<std::string>()) : fs::path();
}

// License and languages of a quantized model are its base's; the rest is its own.
void complete_metadata(CardFacts& facts, const CardRequest& request) {
  CardMetadata& m = facts.metadata;
  m = read_metadata(model_path(facts.own().run) / "README.md");
  if (facts.base) {
    const CardMetadata base = read_metadata(model_path(facts.runs[*facts.base].run) / "README.md");
    if (m.license.empty()) {
      m.license = base.license;
      m.license_name = base.license_name;
      m.license_link = base.license_link;
    }
    if (m.languages.empty()) m.languages = base.languages;
  }
  if (!request.license.empty()) {
    m.license = request.license;
    if (request.license != "other") m.license_name = m.license_link = "";
  }
  if (!request.languages.empty()) m.languages = request.languages;
  if (!request.base_models.empty()) m.base_models = request.base_models;
  if (m.license.empty()) facts.unknown.push_back("license (--license gives it)");
  if (m.languages.empty()) facts.unknown.push_back("language (--language gives it)");
  if (m.base_models.empty())
    facts.unknown.push_back("base_model (--base-model OWNER/NAME gives it)");
}

void note_what_is_missing(CardFacts& facts) {
  if (!facts.model) {
    facts.unknown.push_back("the table of the recipe (the run's model directory is not there)");
  } else if (facts.model->provenance.is_null()) {
    facts.unknown.push_back(
        "the recipe's name and the source's hashes (no qx_plan.json that fits the weights)");
  }
  if (!facts.base) {
    facts.unknown.push_back(
        "the base among the runs, so no difference is claimed (--with its run; --base NAME where "
        "no qx_plan.json proves it)");
  }
  if (!facts.own().speed) facts.unknown.push_back("speed (qx bench -o RUN measures it)");
  if (!facts.own().distance) {
    facts.unknown.push_back("divergence from the base (qx divergence -o RUNS measures it)");
  }
}

}  // namespace

CardMetadata read_metadata(const fs::path& readme) {
  CardMetadata metadata;
  if (readme.parent_path().empty() || !fs::is_regular_file(readme)) return metadata;
  const MappedFile file(readme);
  const CardText card = read_card(file.text(), readme.string());
  if (!card.front) return metadata;
  const Json& front = card.front->value;
  const std::string place = readme.string();
  metadata.license = first_text(json_member(front, "license"), place, "license");
  metadata.license_name = first_text(json_member(front, "license_name"), place, "license_name");
  metadata.license_link = first_text(json_member(front, "license_link"), place, "license_link");
  metadata.languages = texts(json_member(front, "language"), place, "language");
  metadata.base_models = texts(json_member(front, "base_model"), place, "base_model");
  metadata.tags = texts(json_member(front, "tags"), place, "tags");
  return metadata;
}

std::optional<CardModel> measure_card_model(const Json& run, const std::string& place) {
  const fs::path directory = model_path(run);
  if (directory.empty() || !fs::is_directory(directory)) return std::nullopt;
  const MeasuredDirectory measured = measure_directory(directory);
  CardModel model;
  model.plan_hash = storage_hash(measured.storage());
  const Json& recorded = json_member(json_member(run, "model"), "plan_hash");
  if (recorded != model.plan_hash) {
    fail(directory.string(), "has plan {}, but {} was made with plan {}; evaluate it again",
         model.plan_hash.substr(0, 12), place,
         recorded.is_string() ? recorded.get<std::string>().substr(0, 12) : "unknown");
  }
  model.layers = measured.config.num_hidden_layers;
  model.parameters = measured.parameters;
  model.tensor_bytes = measured.tensor_bytes;
  model.bits_per_weight = measured.bits_per_weight();
  model.problems = measured.problems;
  std::vector<SummaryItem> items = summary_items(measured);
  if (fs::exists(directory / kPlanFile)) {
    Json plan = read_json_file(directory / kPlanFile, kMaxPlanBytes);
    if (json_member(plan, "plan_hash") == model.plan_hash) model.provenance = std::move(plan);
  }
  // Why each tensor is stored as it is, as the plan says; of measured rows in the catalog's order.
  const Json& tensors = json_member(json_member(model.provenance, "plan"), "tensors");
  const std::string recipe =
      first_text(json_member(model.provenance, "recipe"), kPlanFile, "recipe") + ": ";
  std::map<std::string, std::string> rules;
  if (tensors.is_array()) {
    for (const Json& tensor : tensors) {
      const Json &name = json_member(tensor, "name"), &rule = json_member(tensor, "rule");
      if (!name.is_string() || !rule.is_string()) continue;
      const auto& text = rule.get_ref<const std::string&>();
      rules[name.get<std::string>()] = text.starts_with(recipe) ? text.substr(recipe.size()) : text;
    }
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    model.quantized = model.quantized || measured.rows[i].mode != "float";
    const auto rule = rules.find(measured.rows[i].tensor.name);
    if (rule != rules.end()) items[i].rule = rule->second;
  }
  model.lines = summarize(items);
  if (const std::optional<ChatTemplate> chat = ChatTemplate::load(directory)) {
    model.template_hash = chat->hash();
    model.template_thinks = chat->has_thinking();
  }
  return model;
}

CardFacts gather_facts(const CardRequest& request) {
  CardFacts facts;
  std::vector<fs::path> folders = request.with;
  folders.push_back(request.run);
  for (const fs::path& folder : folders) facts.runs.push_back(read_run(folder));
  const Metric metric = parse_metric(request.metric);
  facts.metric = request.metric;
  facts.margin = request.margin;
  facts.model = measure_card_model(facts.own().run, facts.own().name + "/run.json");
  find_base(facts, request);
  LoadedRuns loaded = load_runs(folders, metric);
  add_results(facts, load_runs({request.run}, Metric::kAcc).runs.front());
  add_results(facts, load_runs({request.run}, Metric::kDefault).runs.front());
  facts.comparison = compare(loaded.runs, facts.base.value_or(facts.self()), request.margin);
  facts.comparison.notes.insert(facts.comparison.notes.begin(), loaded.notes.begin(),
                                loaded.notes.end());
  facts.repository = request.repository;
  facts.title = request.title;
  if (facts.title.empty())
    facts.title = request.repository.substr(request.repository.rfind('/') + 1);
  if (facts.title.empty()) facts.title = model_path(facts.own().run).filename().string();
  if (facts.title.empty()) facts.title = facts.own().name;
  complete_metadata(facts, request);
  note_what_is_missing(facts);
  return facts;
}

}  // namespace qx
