// SPDX-License-Identifier: Apache-2.0
#include "eval/model_run.h"

#include <map>
#include <set>

#include "base/build_info.h"
#include "base/error.h"
#include "kernels/api.h"
#include "runs/model_facts.h"

namespace qx {
namespace {

// A file as another working directory finds it; shipped data have a name only.
std::string lasting_path(const std::filesystem::path& file) {
  if (file.empty()) return "";
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(file, error);
  return error ? file.string() : absolute.lexically_normal().string();
}

// What the questions of a task were made with, for readers that do not have its description.
void put_task_facts(Json& task, const TaskData& data) {
  task["metrics"] = data.task->metrics();
  task["version"] = data.task->version;
  task["description"] = data.task->shipped() ? "shipped" : lasting_path(data.task->file);
  task["description_hash"] = data.task->description_hash;
  if (data.task->cloze) task["cloze"] = true;
  if (data.few_shot.shots == 0) return;
  task["examples"] = data.origin == "shipped" ? data.pool.file : lasting_path(data.pool.file);
  task["examples_hash"] = data.pool.hash;
  task["examples_rows"] = data.pool.rows;
}

}  // namespace

Json run_json(const Asker& asker, const std::vector<TaskData>& data, const EvalRequest& request,
              int threads) {
  Json run;
  run["name"] = asker.model().name;
  run["model"] = model_facts_json(measure_model(asker.model().directory));
  run["mode"] = asker.rules().chat ? "chat" : "plain";
  run["convention"] = convention_name(asker.rules().convention);
  run["template_hash"] = asker.template_hash();
  run["template_variables"] = asker.template_variables();
  run["max_length"] = asker.rules().max_length;
  run["few_shot"] = request.shots;
  run["few_shot_seed"] = request.shots > 0 ? Json(few_shot_of(request).seed) : Json();
  run["few_shot_multiturn"] =
      request.shots > 0 && asker.rules().chat ? Json(asker.multiturn()) : Json();
  run["selection"] = selection_json(request.rows);
  run["tasks"] = Json::object();
  for (const TaskData& d : data) {
    Json& task = run["tasks"][std::string(d.task->name)];
    task["data"] = d.origin == "shipped" ? d.file : lasting_path(d.file);
    task["origin"] = d.origin;
    task["data_hash"] = d.hash;
    task["rows"] = d.rows;
    put_items(task, d, request.rows.shard);
    put_task_facts(task, d);
  }
  run["precision"] = precision_name(request.precision);
  run["kv_bits"] = static_cast<int>(request.kv_bits);
  run["kernels"] = kernels().name;
  run["threads"] = threads;
  if (request.ranks > 1) run["ranks"] = request.ranks;
  const BuildInfo& build = build_info();
  run["version"] = build.version;
  run["commit"] = build.commit;
  run["dirty"] = build.dirty;
  run["compiler"] = build.compiler;
  return run;
}

void check_answers(const AnswerLog& log, const TaskData& data, const std::string& file) {
  std::map<std::int64_t, const DataItem*> items;
  for (const DataItem& item : data.items) items[item.index] = &item;
  std::set<std::int64_t> seen;
  for (const Answer& answer : log.answers()) {
    const auto found = items.find(answer.index);
    const std::string place = fmt::format("{}: item {}", file, answer.index);
    if (answer.task != data.task->name || found == items.end()) {
      fail(place, "is not among the items of this run; start over with --force");
    }
    if (!seen.insert(answer.index).second)
      fail(place, "is answered twice; start over with --force");
    const DataItem& item = *found->second;
    if (answer.doc_hash != item.doc_hash || answer.gold != item.item.gold ||
        answer.choices.size() != item.item.continuations.size() ||
        (!answer.cluster.empty() && answer.cluster != item.item.cluster)) {
      fail(place, "was another question when it was answered; start over with --force");
    }
  }
}

void complete_clusters(AnswerLog& log, const TaskData& data) {
  std::map<std::int64_t, const std::string*> clusters;
  for (const DataItem& item : data.items) clusters[item.index] = &item.item.cluster;
  std::vector<Answer> answers = log.answers();
  bool changed = false;
  for (Answer& answer : answers) {
    const std::string& cluster = *clusters.at(answer.index);
    changed = changed || answer.cluster != cluster;
    answer.cluster = cluster;
  }
  if (changed) log.replace(std::move(answers));
}

ModelRun::ModelRun(const EvalModel& model, const std::vector<TaskData>& data,
                   const EvalRequest& request, int threads)
    : asker_(model, request), run_(run_json(asker_, data, request, threads)) {}

void ModelRun::open(const std::vector<TaskData>& data, const EvalRequest& request) {
  folder_ = std::make_unique<RunFolder>(request.runs / asker_.model().name, run_, request.how);
  for (const TaskData& d : data) {
    const std::filesystem::path file = folder_->answers_file(d.task->name);
    logs_.push_back(std::make_unique<AnswerLog>(file));
    check_answers(*logs_.back(), d, file.string());
    complete_clusters(*logs_.back(), d);
    unanswered_ += static_cast<std::int64_t>(d.items.size() - logs_.back()->answers().size());
  }
}

}  // namespace qx
