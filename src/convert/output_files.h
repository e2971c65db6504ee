// The files of a model directory beside its tensors: config.json, the index, qx_plan.json, and what
// is copied from the source unchanged.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "convert/convert.h"
#include "convert/layout.h"
#include "convert/source.h"
#include "io/json.h"
#include "recipe/plan.h"

namespace qx {

// The source's config.json as mlx-lm would save it: without _name_or_path and vision_config,
// eos_token_id as generation_config.json says, quantization twice (or not at all), top-level keys sorted.
// Beyond that, what mlx-lm would guess wrongly when it is absent is written out: rope_theta (and
// rope_scaling) of a config that has only rope_parameters, tie_word_embeddings, head_dim, and
// num_key_value_heads; and torch_dtype or dtype, where present, name the type that was written.
Json output_config(const SourceModel& source, const Plan& plan, DType dtype);

// model.safetensors.index.json, as mlx-lm writes it.
Json index_json(const Plan& plan, const Layout& layout);

struct FileHash {
  std::string name;
  std::uint64_t bytes = 0;
  std::string sha256;
};

struct Provenance {
  std::string recipe_text;  // of a recipe file; else empty
  Rounding rounding = Rounding::kCpu;
  DType dtype = DType::kBF16;
  std::string source_name;  // the last part of the source's path
  std::vector<FileHash> source_files;
  Json fit;  // null, or method, damping, calibration, fallbacks
};

// qx_plan.json: how this directory was made. No times and no paths: the same conversion gives the
// same bytes everywhere.
Json plan_file_json(const Plan& plan, const ModelConfig& config, const Provenance& provenance);

// Every file of the directory beside its tensors, by name: config.json, the index, qx_plan.json, and the
// source's tokenizer, template, generation and licence files. fit: of the provenance.
std::map<std::string, std::string> files_beside_tensors(
    const ConvertRequest& request, const SourceModel& source, const ConvertPlan& plan,
    const Layout& layout, std::vector<FileHash> source_files, Json fit);

std::string_view rounding_name(Rounding rounding);  // "cpu", "gpu"

}  // namespace qx
