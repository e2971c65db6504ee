// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "card/card_text.h"
#include "card/write_card.h"
#include "tasks/task.h"

namespace qx {
namespace {

// One text, or a list of several, as cards usually have them; null when there is none.
Json one_or_list(const std::vector<std::string>& texts) {
  if (texts.empty()) return nullptr;
  return texts.size() == 1 ? Json(texts.front()) : Json(texts);
}

Json languages(const std::vector<std::string>& codes) {
  return codes.empty() ? Json() : Json(codes);
}

std::vector<std::string> tags(const CardFacts& facts) {
  std::vector<std::string> all = facts.metadata.tags;
  std::vector<std::string> own{"mlx", "qx"};
  if (facts.model) {
    const Json& recipe = json_member(facts.model->provenance, "recipe");
    if (recipe.is_string() && facts.model->quantized) own.push_back(recipe.get<std::string>());
  }
  for (const std::string& tag : own) {
    if (std::find(all.begin(), all.end(), tag) == all.end()) all.push_back(tag);
  }
  return all;
}

Json dataset_of(const std::string& name, const Json& run, std::int64_t n) {
  const Json& recorded = json_member(json_member(run, "tasks"), name);
  Json dataset;
  const Task* task = json_member(recorded, "description") == "shipped" ? find_task(name) : nullptr;
  dataset["name"] = name;
  if (task != nullptr && !task->data.hub.empty()) {
    dataset["type"] = task->data.hub;
    if (!task->data.config.empty()) dataset["config"] = task->data.config;
    dataset["split"] = task->data.split;
  } else {
    dataset["type"] = name;
  }
  dataset["args"] = Json{{"items", n}};
  const Json& shots = json_member(run, "few_shot");
  if (shots.is_number_integer()) dataset["args"]["num_few_shot"] = shots;
  return dataset;
}

// Of the flags that make a task worthless, in few words; empty when there is none.
std::string no_information_text(const CardFacts& facts, const std::string& task) {
  for (const TaskSummary& t : facts.comparison.tasks) {
    if (t.task != task || !no_information(t.scores[facts.self()].flags)) continue;
    return ", no information: nearly one answer for every item";
  }
  return "";
}

Json metrics_of(const CardFacts& facts, const std::string& task,
                const std::vector<TaskMetric>& results) {
  Json list = Json::array();
  for (const TaskMetric& m : results) {
    Json metric;
    metric["type"] = m.metric;
    metric["value"] = std::round(m.accuracy() * 1e4) / 1e4;
    metric["name"] = (m.metric == "acc_norm" ? "length-normalized accuracy" : "accuracy") +
                     no_information_text(facts, task);
    list.push_back(std::move(metric));
  }
  return list;
}

Json model_index(const CardFacts& facts) {
  Json results = Json::array();
  for (const auto& [task, metrics] : facts.results) {
    Json result;
    result["task"] = Json{{"type", "text-generation"}, {"name", "Text Generation"}};
    result["dataset"] = dataset_of(task, facts.own().run, metrics.front().n);
    result["metrics"] = metrics_of(facts, task, metrics);
    results.push_back(std::move(result));
  }
  Json model;
  model["name"] = facts.title;
  model["results"] = std::move(results);
  return Json::array({std::move(model)});
}

}  // namespace

Json card_front_matter(const CardFacts& facts) {
  const CardMetadata& m = facts.metadata;
  Json front = Json::object();
  const auto put = [&](const char* key, Json value) {
    if (!value.is_null() && value != "") front[key] = std::move(value);
  };
  put("license", m.license);
  put("license_name", m.license_name);
  put("license_link", m.license_link);
  put("language", languages(m.languages));
  put("base_model", one_or_list(m.base_models));
  const bool quantized = facts.model && facts.model->quantized;
  if (quantized && !m.base_models.empty()) front["base_model_relation"] = "quantized";
  front["pipeline_tag"] = "text-generation";
  front["library_name"] = "mlx";
  front["tags"] = tags(facts);
  front["model-index"] = model_index(facts);
  return front;
}

Json card_origin(const CardFacts& facts) {
  Json origin;
  origin["format"] = kCardFormat;
  origin["run"] = facts.own().name;
  origin["with"] = Json::array();
  for (std::size_t r = 0; r < facts.self(); ++r) origin["with"].push_back(facts.runs[r].name);
  origin["base"] = facts.base ? Json(facts.runs[*facts.base].name) : Json();
  origin["metric"] = facts.metric;
  origin["margin"] = facts.margin;
  origin["title"] = facts.title;
  origin["repository"] = facts.repository;
  return origin;
}

std::string write_card(const CardFacts& facts) {
  return "---\n" + yaml_text(card_front_matter(facts)) + "---\n\n" + card_body(facts) + "\n" +
         card_usage(facts) + "\n" + origin_comment(card_origin(facts));
}

}  // namespace qx
