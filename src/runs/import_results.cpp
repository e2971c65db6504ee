// SPDX-License-Identifier: Apache-2.0
#include "runs/import_results.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <system_error>

#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "base/utc_time.h"
#include "io/staged.h"
#include "runs/lm_eval_samples.h"
#include "runs/run_folder.h"
#include "tasks/index_set.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

bool is_accuracy(const Json& value) {
  return value.is_number() && value >= 0 && value <= 1;
}

// {"acc,none": 0.5, "sample_len": 40, ..}; some older files have "acc" without a filter's name.
void check_task_entry(const Json& entry, const std::string& task, const std::string& place) {
  if (!entry.is_object()) {
    fail(place, "task '{}': got {}, expected an object of metrics", task, entry.type_name());
  }
  for (const char* metric : {"acc,none", "acc_norm,none", "acc_bytes,none"}) {
    const Json& value = json_member(entry, metric);
    if (!value.is_null() && !is_accuracy(value)) {
      fail(place, "task '{}': key '{}': got {}, expected 0 to 1", task, metric, value.dump());
    }
  }
  const Json& n = json_member(entry, "sample_len");
  const bool is_count = n.is_number_integer() && n > 0 && n <= INT32_MAX;
  if (!n.is_null() && !is_count) {
    fail(place, "task '{}': key 'sample_len': got {}, expected a number of items", task, n.dump());
  }
}

bool is_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// eval_<model>_<lm_eval version>[_<shots, two digits>]_<tasks joined by _>: mlx_lm/evaluate.py.
void read_mlx_lm_name(ResultFile& file, std::string_view name) {
  if (!name.starts_with("eval_")) return;
  std::vector<std::string> parts;
  name.remove_prefix(5);
  while (true) {
    const std::size_t end = std::min(name.find('_'), name.size());
    parts.emplace_back(name.substr(0, end));
    if (end == name.size()) break;
    name.remove_prefix(end + 1);
  }
  const auto is_version = [](const std::string& part) {
    const std::size_t dot = part.find('.');
    return dot != std::string::npos && is_digits(part.substr(0, dot)) && dot + 1 < part.size() &&
           part[dot + 1] >= '0' && part[dot + 1] <= '9';
  };
  const auto at = std::find_if(parts.rbegin(), parts.rend(), is_version);
  if (at == parts.rend()) return;
  const auto index = static_cast<std::size_t>(parts.rend() - at) - 1;
  file.version = parts[index];
  for (std::size_t i = 0; i < index; ++i) file.model += (i > 0 ? "_" : "") + parts[i];
  if (index + 1 < parts.size() && parts[index + 1].size() == 2 && is_digits(parts[index + 1])) {
    file.shots = std::stoi(parts[index + 1]);
  }
}

struct SampleFile {
  fs::path path;
  std::string task;
  ImportedSamples samples;
};

struct Sources {
  std::vector<fs::path> samples, results;
};

bool is_sample_file(const fs::path& path) {
  return !task_of_sample_file(path.filename().string()).empty();
}

bool is_result_name(const std::string& name) {
  return name == "results.json" || (name.starts_with("results_") && name.ends_with(".json")) ||
         name.starts_with("eval_");
}

Sources collect(const ImportRequest& request) {
  Sources sources;
  for (const fs::path& path : request.paths) {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) fail(path.string(), "no such file or folder");
    if (!fs::is_directory(path, ignored)) {
      if (path.extension() == ".jsonl" && !is_sample_file(path)) {
        fail(path.string(), "got a name that tells no task, expected samples_TASK.jsonl");
      }
      (is_sample_file(path) ? sources.samples : sources.results).push_back(path);
      continue;
    }
    std::size_t found = 0;
    for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
      if (!entry.is_regular_file()) continue;
      if (is_sample_file(entry.path())) {
        sources.samples.push_back(entry.path());
      } else if (is_result_name(entry.path().filename().string())) {
        sources.results.push_back(entry.path());
      } else {
        continue;
      }
      ++found;
    }
    if (found == 0) {
      fail(path.string(),
           "holds none of samples_TASK.jsonl, results_TIME.json and eval_MODEL_VERSION_TASKS");
    }
  }
  // The results that lm-eval wrote together with the samples.
  if (sources.results.empty()) {
    for (const fs::path& sample : sources.samples) {
      const std::string time = time_of_lm_eval_file(sample.filename().string());
      const fs::path beside =
          sample.parent_path() /
          (time.empty() ? std::string("results.json") : fmt::format("results_{}.json", time));
      const auto& known = sources.results;
      if (fs::exists(beside) && std::find(known.begin(), known.end(), beside) == known.end()) {
        sources.results.push_back(beside);
      }
    }
  }
  for (auto* files : {&sources.samples, &sources.results}) {
    std::sort(files->begin(), files->end());
    files->erase(std::unique(files->begin(), files->end()), files->end());
  }
  return sources;
}

std::vector<SampleFile> read_samples(const std::vector<fs::path>& paths) {
  std::vector<SampleFile> files;
  for (const fs::path& path : paths) {
    SampleFile file{path, task_of_sample_file(path.filename().string()), {}};
    for (const SampleFile& other : files) {
      if (other.task != file.task) continue;
      fail(path.string(), "{} also has samples of {}; name the files of one run, not a folder",
           other.path.string(), file.task);
    }
    const MappedFile map(path);
    file.samples = parse_lm_eval_samples(map.text(), file.task, path.string());
    files.push_back(std::move(file));
  }
  return files;
}

// One value that every file agrees on; null when none says it.
Json agreed(const std::vector<ResultFile>& files, const std::vector<fs::path>& paths,
            const char* key) {
  Json value;
  std::size_t from = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const Json& here = json_member(files[i].document, key);
    if (here.is_null()) continue;
    if (!value.is_null() && value != here) {
      fail(paths[i].string(), "{} is not that of {}, expected files of one run", key,
           paths[from].string());
    }
    if (value.is_null()) from = i;
    value = here;
  }
  return value;
}

Json model_json(const std::vector<ResultFile>& files) {
  Json model;
  model["path"] = nullptr;
  model["files"] = Json::object();
  model["plan_hash"] = nullptr;
  for (const ResultFile& file : files) {
    const Json& config = json_member(file.document, "config");
    if (file.from_mlx_lm && !file.model.empty()) model["name"] = file.model;
    if (config.is_null()) continue;
    model["name"] = json_member(file.document, "model_name");
    model["args"] = json_member(config, "model_args");
    model["parameters"] = json_member(config, "model_num_parameters");
    model["dtype"] = json_member(config, "model_dtype");
    model["revision"] = json_member(config, "model_revision");
  }
  return model;
}

// The number of examples that all tasks had; null when they differ or nothing says it.
Json shots_of(const std::vector<ResultFile>& files, const std::vector<std::string>& tasks) {
  Json shots;
  for (const ResultFile& file : files) {
    if (file.from_mlx_lm) {
      // Without a number in its name the tasks' own defaults were used, which are 0 for the seven.
      return file.shots.is_null() ? Json(0) : file.shots;
    }
    for (const std::string& task : tasks) {
      const Json& here = json_member(json_member(file.document, "n-shot"), task);
      if (here.is_null()) continue;
      if (!shots.is_null() && shots != here) return nullptr;
      shots = here;
    }
  }
  return shots;
}

bool from_mlx_lm(const std::vector<ResultFile>& files) {
  return std::any_of(files.begin(), files.end(), [](const ResultFile& f) { return f.from_mlx_lm; });
}

// "chat" or "plain" when a results file of lm-eval says so, else null.
Json mode_of(const std::vector<ResultFile>& files) {
  for (const ResultFile& file : files) {
    if (file.from_mlx_lm || !file.document.contains("chat_template")) continue;
    const Json& chat = json_member(file.document, "chat_template");
    return chat.is_null() || chat == "" ? "plain" : "chat";
  }
  return nullptr;
}

class Importer {
 public:
  explicit Importer(const ImportRequest& request)
      : request_(request), sources_(collect(request)), samples_(read_samples(sources_.samples)) {
    for (const fs::path& path : sources_.results) {
      const MappedFile map(path);
      results_.push_back(parse_result_file(map.text(), path.filename().string(), path.string()));
    }
    if (from_mlx_lm(results_) && results_.size() > 1) {
      fail(sources_.results[1].string(), "got several result files, expected one for each import");
    }
    find_tasks();
  }

  ImportOutcome write() {
    const fs::path& target = request_.target;
    StagedDirectory staged(target, request_.force);
    for (const SampleFile& file : samples_) write_samples(staged.path(), file);
    write_file_atomic(staged.path() / "results.json",
                      dump_json(results_json(), 2, false, false) + "\n", false);
    write_file_atomic(staged.path() / "run.json", dump_json(run_json(), 2, false, false) + "\n",
                      false);
    staged.commit();
    return std::move(outcome_);
  }

 private:
  void find_tasks() {
    for (const SampleFile& file : samples_) {
      outcome_.tasks.push_back(
          {file.task, static_cast<std::int64_t>(file.samples.items.size()), true});
      note_samples(file);
    }
    std::int64_t groups = 0;
    for (std::size_t i = 0; i < results_.size(); ++i) {
      for (const auto& [task, entry] : results_[i].results.items()) {
        check_task_entry(entry, task, sources_.results[i].string());
        const auto known =
            std::find_if(outcome_.tasks.begin(), outcome_.tasks.end(),
                         [&name = task](const ImportedTask& t) { return t.task == name; });
        if (known != outcome_.tasks.end()) {
          check_agreement(*known, entry, sources_.results[i]);
          continue;
        }
        const Json& n = json_member(entry, "sample_len");
        if (n.is_null() || json_member(entry, "acc,none").is_null()) {
          ++groups;
          continue;
        }
        outcome_.tasks.push_back({task, n.get<std::int64_t>(), false});
      }
    }
    if (outcome_.tasks.empty()) {
      fail(request_.paths.front().string(),
           "holds no task with an accuracy and its number of items (sample_len)");
    }
    if (groups > 0) {
      outcome_.notes.push_back(
          fmt::format("{} entries without an accuracy or a number of items are left out", groups));
    }
    const auto without = std::count_if(outcome_.tasks.begin(), outcome_.tasks.end(),
                                       [](const ImportedTask& t) { return !t.per_item; });
    if (without == 0) return;
    outcome_.notes.emplace_back(
        without == std::ssize(outcome_.tasks)
            ? "tasks without samples have no answers per item: qx compare tests them unpaired, "
              "which is weaker"
            : "tasks without samples have no answers per item: qx compare leaves them out beside "
              "those with samples; an import of the results file alone is tested unpaired");
  }

  void note_samples(const SampleFile& file) {
    if (file.samples.of_other_filters > 0) {
      outcome_.notes.push_back(fmt::format("{}: {} lines of other filters are left out", file.task,
                                           file.samples.of_other_filters));
    }
    if (file.samples.changed > 0) {
      outcome_.notes.push_back(
          fmt::format("{}: {} documents do not have the doc_hash that was logged with them",
                      file.task, file.samples.changed));
    }
  }

  // Samples and results of one run say the same.
  void check_agreement(const ImportedTask& task, const Json& entry, const fs::path& path) const {
    const Json& n = json_member(entry, "sample_len");
    if (!n.is_null() && n != task.items) {
      fail(path.string(), "{} has {} items there and {} samples, expected files of one run",
           task.task, n.dump(), task.items);
    }
    const Json& acc = json_member(entry, "acc,none");
    if (acc.is_null()) return;
    for (const SampleFile& file : samples_) {
      if (file.task != task.task) continue;
      std::int64_t right = 0;
      for (const ImportedSample& sample : file.samples.items) right += sample.answer.acc;
      const double mean = static_cast<double>(right) / static_cast<double>(task.items);
      // Both are quotients of the same whole numbers up to the order of a sum.
      if (std::abs(mean - acc.get<double>()) > 1e-9) {
        fail(path.string(),
             "{} has an accuracy of {} there and {} in its samples, expected files of one run",
             task.task, acc.dump(), mean);
      }
    }
  }

  static void write_samples(const fs::path& folder, const SampleFile& file) {
    std::string answers, prompts;
    for (const ImportedSample& sample : file.samples.items) {
      answers += answer_line(sample.answer) + '\n';
      Json line;
      line["task"] = file.task;
      line["index"] = sample.answer.index;
      line["choices"] = Json::array();
      for (const SampleChoice& choice : sample.asked) {
        line["choices"].push_back(
            {{"context", choice.context}, {"continuation", choice.continuation}});
      }
      prompts += line.dump() + '\n';
    }
    write_file_atomic(folder / fmt::format("answers-{}.jsonl", file.task), answers, false);
    write_file_atomic(folder / fmt::format("prompts-{}.jsonl", file.task), prompts, false);
  }

  // The foreign entries as they are; of tasks without one, the accuracy of the samples.
  Json results_json() const {
    Json all;
    for (const char* key : {"results", "versions", "n-shot", "higher_is_better", "n-samples"}) {
      all[key] = Json::object();
    }
    for (const ResultFile& file : results_) {
      for (const ImportedTask& task : outcome_.tasks) {
        const Json& entry = json_member(file.results, task.task);
        if (!entry.is_null()) all["results"][task.task] = entry;
        for (const char* key : {"versions", "n-shot", "higher_is_better", "n-samples"}) {
          const Json& value = json_member(json_member(file.document, key), task.task);
          if (!value.is_null()) all[key][task.task] = value;
        }
      }
    }
    for (const SampleFile& file : samples_) {
      if (all["results"].contains(file.task)) continue;
      const auto n = static_cast<double>(file.samples.items.size());
      double acc = 0, acc_norm = 0;
      for (const ImportedSample& sample : file.samples.items) {
        acc += sample.answer.acc;
        acc_norm += sample.answer.acc_norm.value_or(0);
      }
      Json& entry = all["results"][file.task];
      entry["alias"] = file.task;
      entry["sample_len"] = file.samples.items.size();
      entry["acc,none"] = acc / n;
      if (file.samples.items.front().answer.acc_norm) entry["acc_norm,none"] = acc_norm / n;
    }
    return all;
  }

  Json run_json() {
    std::vector<std::string> tasks;
    for (const ImportedTask& task : outcome_.tasks) tasks.push_back(task.task);
    const bool mlx = from_mlx_lm(results_);
    const std::vector<fs::path>& paths = sources_.results;
    Json run;
    run["name"] = request_.target.filename().string();
    run["imported_from"] = imported_from(mlx);
    run["model"] = model_json(results_);
    run["mode"] = mode_of(results_);
    // The convention is the program's: lm-eval's HFLM and its relatives have one, mlx_lm.evaluate the other.
    const Json own = agreed(results_, paths, "convention");  // in a file that qx exported
    run["convention"] = !own.is_null() ? own : Json(mlx ? "mlx-lm" : "lm-eval");
    run["template_hash"] = agreed(results_, paths, "chat_template_sha");
    run["template_variables"] = nullptr;
    run["max_length"] = agreed(results_, paths, "max_length");
    run["few_shot"] = shots_of(results_, tasks);
    run["precision"] = nullptr;
    run["kv_bits"] = nullptr;
    run["tasks"] = Json::object();
    for (const ImportedTask& task : outcome_.tasks) {
      Json& entry = run["tasks"][task.task];
      entry["items"] = task.items;
      entry["per_item"] = task.per_item;
      for (const SampleFile& file : samples_) {
        if (file.task == task.task) put_rows(entry, file);
      }
    }
    run["version"] = nullptr;
    run["start"] = nullptr;
    run["end"] = utc_now();
    for (const char* key : {"mode", "few_shot"}) {
      if (run[key].is_null()) {
        outcome_.notes.push_back(fmt::format("{} is unknown: no file says it", key));
      }
    }
    return run;
  }

  static void put_rows(Json& entry, const SampleFile& file) {
    std::set<std::int64_t> rows;
    for (const ImportedSample& sample : file.samples.items) rows.insert(sample.answer.index);
    const IndexSet set(std::vector<std::int64_t>(rows.begin(), rows.end()));
    entry["indices"] = set.text();
    entry["items_hash"] = set.hash();
  }

  Json imported_from(bool mlx) const {
    Json from;
    from["program"] = mlx ? "mlx_lm.evaluate" : "lm-eval";
    from["version"] = nullptr;
    for (const ResultFile& file : results_) {
      const Json& version = json_member(file.document, "lm_eval_version");
      if (!version.is_null()) from["version"] = version;
      if (mlx && !file.version.empty()) from["lm_eval_version"] = file.version;
      const Json& own = json_member(file.document, "qx_version");
      if (own.is_null()) continue;
      from["program"] = "qx export-run";
      from["version"] = own;
    }
    from["files"] = Json::object();
    for (const SampleFile& file : samples_) {
      from["files"][file.path.string()] = sha256_file(file.path);
    }
    for (const fs::path& path : sources_.results) from["files"][path.string()] = sha256_file(path);
    return from;
  }

  const ImportRequest& request_;
  Sources sources_;
  std::vector<SampleFile> samples_;
  std::vector<ResultFile> results_;
  ImportOutcome outcome_;
};

}  // namespace

ResultFile parse_result_file(std::string_view text, const std::string& name,
                             const std::string& place) {
  ResultFile file;
  Json json = parse_json(text, place);
  if (!json.is_object() || json.empty()) {
    fail(place, "got {}, expected a result file of lm-eval or mlx_lm.evaluate",
         json.is_object() ? "an empty object" : json.type_name());
  }
  if (const Json& results = json_member(json, "results"); results.is_object()) {
    file.results = results;
    file.document = std::move(json);
  } else {
    file.from_mlx_lm = true;
    file.results = std::move(json);
    file.document = Json::object();
    read_mlx_lm_name(file, name);
  }
  for (const auto& [task, entry] : file.results.items()) check_task_entry(entry, task, place);
  return file;
}

ImportOutcome import_run(const ImportRequest& request) {
  if (request.paths.empty()) throw UsageError("got no file, expected at least one");
  std::error_code ignored;
  if (request.force && fs::exists(request.target, ignored)) {
    const fs::path run = request.target / "run.json";
    if (!fs::exists(run, ignored) || json_member(read_json_file(run), "imported_from").is_null()) {
      fail(request.target.string(), "is no imported run, expected one that --force may replace");
    }
  }
  return Importer(request).write();
}

}  // namespace qx
