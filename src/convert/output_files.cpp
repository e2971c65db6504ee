// SPDX-License-Identifier: Apache-2.0
#include "convert/output_files.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "base/build_info.h"
#include "base/error.h"
#include "base/mapped_file.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

bool is_present(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && !found->is_null();
}

// As Python counts truth: an absent, null, zero or empty value does not replace the config's.
bool is_truthy(const Json& value) {
  if (value.is_null()) return false;
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>() != 0;
  return !value.empty();
}

void apply_generation_config(const fs::path& directory, Json& config) {
  const fs::path file = directory / "generation_config.json";
  if (!fs::exists(file)) return;
  const Json generation = read_json_file(file);
  const auto eos = generation.find("eos_token_id");
  if (eos != generation.end() && is_truthy(*eos)) config["eos_token_id"] = *eos;
}

// An integer where the number is one, as such files are usually written.
Json plain_number(double value) {
  if (value == std::floor(value) && std::fabs(value) < 1e15)
    return static_cast<std::int64_t>(value);
  return value;
}

void state_rope(const ModelConfig& model, Json& config) {
  if (!is_present(config, "rope_theta")) config["rope_theta"] = plain_number(model.rope.theta);
  if (is_present(config, "rope_scaling") || !is_present(config, "rope_parameters") ||
      model.rope.type == RopeConfig::Type::kDefault) {
    return;
  }
  Json scaling = config["rope_parameters"];
  scaling.erase("rope_theta");
  config["rope_scaling"] = scaling;
}

void state_defaults(const ModelConfig& model, Json& config) {
  if (!is_present(config, "tie_word_embeddings")) {
    config["tie_word_embeddings"] = model.tie_word_embeddings;
  }
  if (!is_present(config, "num_key_value_heads")) {
    config["num_key_value_heads"] = model.num_key_value_heads;
  }
  if (!is_present(config, "rms_norm_eps")) config["rms_norm_eps"] = model.rms_norm_eps;
  if (!is_present(config, "max_position_embeddings")) {
    config["max_position_embeddings"] = model.max_position_embeddings;
  }
  if (model.model_type == "qwen3" && !is_present(config, "head_dim")) {
    config["head_dim"] = model.head_dim;
  }
}

Json sorted_top_level(const Json& object) {
  std::map<std::string, const Json*> sorted;
  for (const auto& item : object.items()) sorted.emplace(item.key(), &item.value());
  Json out = Json::object();
  for (const auto& [key, value] : sorted) append_member(out, key, *value);
  return out;
}

// Tokenizer, template, generation and licence files that the source has, by name.
std::vector<fs::path> files_to_copy(const fs::path& source) {
  constexpr std::string_view kNames[] = {
      "tokenizer.json",          "tokenizer_config.json",  "tokenizer.model", "chat_template.jinja",
      "chat_template.json",      "generation_config.json", "vocab.json",      "merges.txt",
      "special_tokens_map.json", "added_tokens.json"};
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(source)) {
    const std::string name = entry.path().filename().string();
    const bool wanted = std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames) ||
                        name.starts_with("LICENSE") || name.starts_with("NOTICE");
    if (wanted && entry.is_regular_file()) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

std::string_view rounding_name(Rounding rounding) {
  return rounding == Rounding::kCpu ? "cpu" : "gpu";
}

Json output_config(const SourceModel& source, const Plan& plan, DType dtype) {
  Json config = source.config_json();
  for (const char* key :
       {"_name_or_path", "vision_config", "quantization", "quantization_config"}) {
    config.erase(key);
  }
  apply_generation_config(source.directory(), config);
  state_rope(source.config(), config);
  state_defaults(source.config(), config);
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (is_present(config, key)) config[key] = float_dtype_config_name(dtype);
  }
  if (plan.quantizes) {
    config["quantization"] = quantization_json(plan);
    config["quantization_config"] = config["quantization"];
  }
  return sorted_top_level(config);
}

Json index_json(const Plan& plan, const Layout& layout) {
  std::map<std::string, std::string> weight_map;
  for (const OutputTensor& tensor : layout.tensors) {
    for (const OutputArray& array : tensor.arrays) {
      weight_map.emplace(array.name, layout.shard_names[array.shard]);
    }
  }
  Json files = Json::object();
  for (const auto& [name, file] : weight_map) append_member(files, name, file);
  Json index = Json::object();
  index["metadata"] = {{"total_size", layout.total_bytes}, {"total_parameters", plan.parameters}};
  index["weight_map"] = std::move(files);
  return index;
}

Json plan_file_json(const Plan& plan, const ModelConfig& config, const Provenance& provenance) {
  const BuildInfo& build = build_info();
  Json files = Json::array();
  for (const FileHash& f : provenance.source_files) {
    files.push_back({{"name", f.name}, {"bytes", f.bytes}, {"sha256", f.sha256}});
  }
  Json out = Json::object();
  out["format"] = 1;
  out["recipe"] = plan.recipe;
  if (!provenance.recipe_text.empty()) out["recipe_text"] = provenance.recipe_text;
  out["plan_hash"] = plan.plan_hash();
  out["rounding"] = rounding_name(provenance.rounding);
  if (!provenance.fit.is_null()) out["fit"] = provenance.fit;
  out["dtype"] = float_dtype_config_name(provenance.dtype);
  out["source"] = {{"name", provenance.source_name}, {"files", std::move(files)}};
  out["qx"] = {{"version", build.version}, {"commit", build.commit}, {"dirty", build.dirty}};
  out["plan"] = plan_json(plan, config);
  return out;
}

std::map<std::string, std::string> files_beside_tensors(
    const ConvertRequest& request, const SourceModel& source, const ConvertPlan& plan,
    const Layout& layout, std::vector<FileHash> source_files, Json fit) {
  std::map<std::string, std::string> out;
  out["config.json"] = dump_json(output_config(source, plan.plan, plan.dtype), 4, false, true);
  out["model.safetensors.index.json"] = dump_json(index_json(plan.plan, layout), 4, false, true);
  Provenance provenance;
  const std::string& recipe = request.plan.recipe;
  if (recipe.find('/') != std::string::npos || recipe.ends_with(".json")) {  // as find_recipe
    provenance.recipe_text = MappedFile{fs::path(recipe)}.text();
  }
  provenance.rounding = request.rounding;
  provenance.dtype = plan.dtype;
  provenance.source_name = request.source_name;
  if (provenance.source_name.empty()) {
    provenance.source_name = fs::weakly_canonical(request.source).filename().string();
  }
  provenance.source_files = std::move(source_files);
  provenance.fit = std::move(fit);
  out["qx_plan.json"] =
      dump_json(plan_file_json(plan.plan, plan.config, provenance), 1, false, true) + "\n";
  for (const fs::path& file : files_to_copy(request.source)) {
    out[file.filename().string()] = MappedFile(file).text();
  }
  return out;
}

}  // namespace qx
