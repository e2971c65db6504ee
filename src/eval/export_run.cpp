// SPDX-License-Identifier: Apache-2.0
#include "eval/export_run.h"

#include <algorithm>
#include <ctime>
#include <system_error>

#include "base/build_info.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "io/staged.h"
#include "runs/lm_eval_samples.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

// lm-eval's hellaswag adds three fields to each row before it logs and hashes it.
Json logged_row(const std::string& task, const Json& row, const TaskItem& item) {
  if (task != "hellaswag") return row;
  Json logged = row;
  logged["query"] = item.contexts.front();
  logged["choices"] = item.continuations;
  logged["gold"] = item.gold;
  return logged;
}

// What lm-eval's definitions give as target: the text behind the blank for winogrande, whose choices are
// contexts, the word itself for a cloze question, else the index of the gold answer.
std::string target_of(const TaskItem& item) {
  const auto gold = static_cast<std::size_t>(item.gold);
  const bool by_text = item.contexts.size() > 1 || item.continuations.size() == 1;
  return by_text ? item.continuations[gold] : std::to_string(item.gold);
}

std::string samples_text(const RecordedRun& run, const std::string& task,
                         const RecordedPrompter& prompter, const ExportRequest& request) {
  const RecordedData data(run, task, request.data);
  const std::vector<Answer> answers = run.answers(task);
  const std::vector<DataItem> items = data.items(answers);
  std::string text;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    check_interrupt();
    const Answer& answer = answers[i];
    const DataItem& item = items[i];
    std::vector<SampleChoice> asked;
    for (const Prompt& prompt : prompter.prompts(data.task(), item)) {
      asked.push_back({prompt.context, prompt.continuation});
    }
    text += lm_eval_sample_line(answer, logged_row(task, data.row(answer), item.item),
                                target_of(item.item), asked) +
            '\n';
  }
  return text;
}

// "2026-01-31T12:00:00Z" as lm-eval puts times into names: without the zone, ':' as '-'.
std::string time_of_run(const RecordedRun& run) {
  const Json& end = run.setting("end");
  if (!end.is_string()) {
    fail(run.folder().string(), "is not finished, expected a run with an end; run qx eval again");
  }
  std::string time = end.get<std::string>();
  std::replace(time.begin(), time.end(), ':', '-');
  if (time.ends_with('Z')) time.pop_back();
  return time;
}

double seconds_of(const std::string& time) {
  std::tm parts{};
  if (::strptime(time.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts) == nullptr) return 0;
  return static_cast<double>(::timegm(&parts));
}

}  // namespace

Json lm_eval_results(const RecordedRun& run) {
  Json json = read_json_file(run.folder() / "results.json");
  if (!json.is_object() || !json.contains("results")) {
    fail((run.folder() / "results.json").string(), "expected an object with 'results'");
  }
  json.erase("truncated_requests");
  json["group_subtasks"] = Json::object();
  json["configs"] = Json::object();
  for (const auto& [task, entry] : json["results"].items()) {
    json["group_subtasks"][task] = Json::array();
    json["configs"][task] = {{"task", task},
                             {"num_fewshot", run.setting("few_shot")},
                             {"metadata", {{"version", json_member(json["versions"], task)}}}};
  }
  const Json& model = run.setting("model");
  Json& config = json["config"];
  config["model"] = "qx";
  config["model_args"] = fmt::format("pretrained={}", run.model_directory().string());
  config["model_num_parameters"] = json_member(model, "parameters");
  config["precision"] = run.setting("precision");
  config["kv_bits"] = run.setting("kv_bits");
  config["plan_hash"] = json_member(model, "plan_hash");
  const Json& end = run.setting("end");
  json["git_hash"] = run.setting("commit");
  json["date"] = end.is_string() ? Json(seconds_of(end.get<std::string>())) : Json();
  json["qx_version"] = run.setting("version");
  json["max_length"] = run.setting("max_length");
  json["model_source"] = "qx";
  json["model_name"] = run.name();
  json["model_name_sanitized"] = run.name();
  json["system_instruction"] = nullptr;
  json["fewshot_as_multiturn"] = run.setting("few_shot_multiturn");
  json["convention"] = run.setting("convention");
  json["chat_template_sha"] = run.setting("template_hash");
  return json;
}

std::vector<fs::path> export_run(const RecordedRun& run, const ExportRequest& request) {
  if (run.imported()) {
    fail(run.folder().string(), "was imported, expected a run of qx eval: its own files are {}",
         run.setting("imported_from").value("files", Json::object()).dump());
  }
  const fs::path directory = request.model.value_or(run.model_directory());
  std::error_code error;
  if (!fs::is_directory(directory, error)) {
    fail(directory.string(),
         "the model is gone, and prompts need its tokenizer and template; --model "
         "DIR names where it lies now");
  }
  const std::string difference = model_difference(run, directory);
  if (!difference.empty()) {
    fail(directory.string(), "is not the model that answered: {}", difference);
  }
  const std::string suffix = request.with_time ? "_" + time_of_run(run) : "";
  const RecordedPrompter prompter(run, directory);
  fs::create_directories(request.target, error);
  if (error) fail(request.target.string(), "cannot create the folder: {}", error.message());
  std::vector<std::pair<fs::path, std::string>> files;
  for (const std::string& task : run.tasks()) {
    files.emplace_back(request.target / fmt::format("samples_{}{}.jsonl", task, suffix),
                       samples_text(run, task, prompter, request));
  }
  if (request.with_time) {
    Json results = lm_eval_results(run);
    results["chat_template"] = prompter.template_source();
    files.emplace_back(request.target / fmt::format("results{}.json", suffix),
                       dump_json(results, 2, false, false) + "\n");
  }
  std::vector<fs::path> written;
  for (const auto& [file, text] : files) {
    write_file_atomic(file, text, request.force);
    written.push_back(file);
  }
  return written;
}

}  // namespace qx
