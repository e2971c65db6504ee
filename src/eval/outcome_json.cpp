// SPDX-License-Identifier: Apache-2.0
#include "eval/outcome_json.h"

#include <utility>

namespace qx {

Json data_used_json(const std::vector<DataUsed>& data) {
  Json json = Json::object();
  for (const DataUsed& d : data) {
    Json& entry = json[d.task];
    entry["data"] = d.file;
    entry["origin"] = d.origin;
    entry["data_hash"] = d.hash;
    entry["items"] = d.items;
    entry["rows"] = d.rows;
  }
  return json;
}

Json outcome_json(const EvalOutcome& outcome) {
  Json document;
  document["data"] = data_used_json(outcome.data);
  document["models"] = Json::object();
  for (const ModelOutcome& model : outcome.models) {
    Json entry = results_json(model.results);
    entry["folder"] = model.folder.string();
    entry["run"] = model.run;
    document["models"][model.model.name] = std::move(entry);
  }
  return document;
}

}  // namespace qx
