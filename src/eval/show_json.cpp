// An item as scripts read it.
// SPDX-License-Identifier: Apache-2.0

#include "eval/show.h"
#include "kernels/api.h"
#include "runs/choice_metric.h"
#include "text/unicode.h"

namespace qx {
namespace {

template <typename Value>
Json optional_json(const std::optional<Value>& value) {
  return value ? Json(*value) : Json();
}

Json token_json(const ShownToken& token) {
  Json json;
  json["id"] = token.id;
  json["text"] = to_valid_utf8(token.text);
  json["logprob"] = token.logprob;
  json["best"] = {{"id", token.best},
                  {"text", to_valid_utf8(token.best_text)},
                  {"logprob", token.best_logprob}};
  return json;
}

Json choice_json(const ShownChoice& choice) {
  const ChoiceAnswer& answer = choice.answer();
  Json json;
  json["text"] = optional_json(choice.text);
  json["context"] = optional_json(choice.context);
  json["continuation"] = optional_json(choice.continuation);
  json["ll"] = json_of_number(answer.ll);
  json["logged_ll"] = json_of_number(choice.logged.ll);
  json["tokens"] = answer.tokens > 0 ? Json(answer.tokens) : Json();
  json["chars"] = answer.chars;
  json["bytes"] = answer.bytes;
  json["greedy"] = answer.greedy;
  if (!choice.ids.empty()) {
    json["ids"] = choice.ids;
    json["scored"] = {choice.scored_begin, choice.ids.size()};
    if (choice.cut_tokens > 0) json["cut_tokens"] = choice.cut_tokens;
  }
  if (!choice.id_texts.empty()) {
    json["id_texts"] = Json::array();
    for (const std::string& text : choice.id_texts) json["id_texts"].push_back(to_valid_utf8(text));
  }
  if (choice.now) {
    json["scored_tokens"] = Json::array();
    for (const ShownToken& token : choice.scored) {
      json["scored_tokens"].push_back(token_json(token));
    }
  }
  return json;
}

}  // namespace

Json shown_json(const RecordedRun& run, const ShownItem& item) {
  Json json;
  json["run"] = run.folder().string();
  json["task"] = item.logged.task;
  json["index"] = item.logged.index;
  json["doc_hash"] = item.logged.doc_hash;
  json["place"] = item.place.empty() ? Json() : Json(item.place);
  json["row"] = item.row;
  for (const char* key : {"mode", "convention", "few_shot", "template_variables", "max_length",
                          "precision", "kv_bits"}) {
    json[key] = run.setting(key);
  }
  json["kernels"] = {{"run", run.setting("kernels")}, {"here", kernels().name}};
  if (run.imported()) json["imported_from"] = run.setting("imported_from");
  json["gold"] = item.logged.gold;
  const std::vector<ChoiceAnswer> answers = item.answers();
  json["choices"] = Json::array();
  for (const ShownChoice& choice : item.choices) json["choices"].push_back(choice_json(choice));
  json["metrics"] = Json::object();
  for (const ChoiceMetric metric : kChoiceMetrics) {
    if (!has_choice_metric(answers, metric)) continue;
    Json& entry = json["metrics"][std::string(choice_metric_name(metric))];
    entry["scores"] = Json::array();
    for (const double value : choice_values(answers, metric)) {
      entry["scores"].push_back(json_of_number(value));
    }
    const auto pick = static_cast<int>(picked_choice(answers, metric));
    entry["pick"] = pick;
    entry["right"] = pick == item.logged.gold;
    entry["margin"] = json_of_number(gold_margin(answers, item.logged.gold, metric));
  }
  json["counts"] = choice_metric_name(default_choice_metric(item.logged));
  json["recomputed"] = item.recomputed;
  json["equal"] = item.recomputed ? Json(item.equal) : Json();
  json["notes"] = item.notes;
  json["missing"] = item.missing;
  return json;
}

}  // namespace qx
