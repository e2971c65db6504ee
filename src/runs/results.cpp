// Accuracies of a run.
// SPDX-License-Identifier: Apache-2.0
#include "runs/results.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "stats/stats.h"

namespace qx {
namespace {

template <typename IsRight>
Accuracy accuracy(std::span<const Answer> answers, IsRight is_right) {
  const std::int64_t right = std::count_if(answers.begin(), answers.end(), is_right);
  const auto n = static_cast<std::int64_t>(answers.size());
  Accuracy a;
  a.mean = static_cast<double>(right) / static_cast<double>(n);
  if (n > 1) a.standard_error = accuracy_stderr(right, n);
  return a;
}

void put(Json& json, const std::string& metric, const Accuracy& a) {
  json[metric + ",none"] = a.mean;
  json[metric + "_stderr,none"] = a.standard_error ? Json(*a.standard_error) : Json("N/A");
}

std::string short_cell(const std::optional<Accuracy>& a) {
  return a ? fmt::format("{:.4f}", a->mean) : "";
}

std::string cell(const std::optional<Accuracy>& a) {
  if (!a) return "";
  if (!a->standard_error) return fmt::format("{:.4f}", a->mean);
  return fmt::format("{:.4f} ± {:.4f}", a->mean, *a->standard_error);
}

}  // namespace

TaskResult summarize(const Task& task, std::span<const Answer> answers) {
  QX_CHECK(!answers.empty());
  TaskResult result;
  result.task = &task;
  result.n = static_cast<std::int64_t>(answers.size());
  result.acc = accuracy(answers, [](const Answer& a) { return a.acc == 1; });
  if (task.has_acc_norm) {
    result.acc_norm =
        accuracy(answers, [](const Answer& a) { return a.acc_norm.value_or(0) == 1; });
    result.acc_bytes = accuracy(answers, [](const Answer& a) { return is_right(a, "acc_bytes"); });
    result.acc_token = accuracy(answers, [](const Answer& a) { return is_right(a, "acc_token"); });
  }
  return result;
}

Json task_result_json(const TaskResult& result) {
  Json json;
  json["name"] = result.task->name;
  json["alias"] = result.task->name;
  json["sample_len"] = result.n;
  put(json, "acc", result.acc);
  if (result.acc_norm) put(json, "acc_norm", *result.acc_norm);
  if (result.acc_bytes) put(json, "acc_bytes", *result.acc_bytes);
  if (result.acc_token) put(json, "acc_token", *result.acc_token);
  return json;
}

Json results_json(std::span<const TaskResult> results) {
  Json json;
  for (const char* key :
       {"results", "versions", "n-shot", "higher_is_better", "n-samples", "truncated_requests"}) {
    json[key] = Json::object();
  }
  for (const TaskResult& result : results) {
    const std::string name(result.task->name);
    json["results"][name] = task_result_json(result);
    json["versions"][name] = result.task->version;
    json["n-shot"][name] = result.shots;
    Json higher;
    higher["acc"] = true;
    if (result.acc_norm) higher["acc_norm"] = true;
    if (result.acc_bytes) higher["acc_bytes"] = true;
    if (result.acc_token) higher["acc_token"] = true;
    json["higher_is_better"][name] = higher;
    json["n-samples"][name]["original"] = result.rows;
    json["n-samples"][name]["effective"] = result.n;
    json["truncated_requests"][name] = result.cut_requests;
  }
  return json;
}

std::string results_table(std::span<const NamedResults> models) {
  std::size_t task_width = 4, name_width = 5;
  for (const NamedResults& model : models) {
    name_width = std::max(name_width, model.name.size());
    for (const TaskResult& r : model.results)
      task_width = std::max(task_width, r.task->name.size());
  }
  // "0.1234 ± 0.1234" is 15 columns wide.
  std::string text =
      fmt::format("{:<{}}  {:>6}  {:<{}}  {:<15}  {:<15}  {:<9}  {}\n", "task", task_width, "n",
                  "model", name_width, "acc", "acc_norm", "acc_bytes", "acc_token");
  const std::size_t tasks = models.empty() ? 0 : models.front().results.size();
  for (std::size_t t = 0; t < tasks; ++t) {
    for (const NamedResults& model : models) {
      const TaskResult& r = model.results[t];
      std::string line =
          fmt::format("{:<{}}  {:>6}  {:<{}}  {:<15}  {:<15}  {:<9}  {}", r.task->name, task_width,
                      r.n, model.name, name_width, cell(r.acc), cell(r.acc_norm),
                      short_cell(r.acc_bytes), short_cell(r.acc_token));
      line.erase(line.find_last_not_of(' ') + 1);
      text += line + '\n';
    }
  }
  return text;
}

}  // namespace qx
