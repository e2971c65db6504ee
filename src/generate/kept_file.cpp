// SPDX-License-Identifier: Apache-2.0
#include "generate/kept_file.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/build_info.h"
#include "kernels/api.h"
#include "runs/model_facts.h"

namespace qx {

Json kv_identity(const std::filesystem::path& directory, Precision precision, KvBits kv_bits) {
  const ModelFacts facts = measure_model(directory);
  Json json;
  json["version"] = build_info().version;
  json["precision"] = precision_name(precision);
  json["kv_bits"] = static_cast<int>(kv_bits);
  // The one precision whose bits may depend on the instruction set.
  if (precision == Precision::kFast) json["kernels"] = kernels().name;
  json["plan_hash"] = facts.plan_hash;
  json["files"] = Json::object();
  for (const auto& [name, hash] : facts.files) {
    if (name == "config.json" || name.ends_with(".safetensors")) json["files"][name] = hash;
  }
  return json;
}

std::int64_t restore_sequence(const KvFile& file, Model& model, KeptSequence& kept) {
  const KvFileSegment& sequence = file.only_sequence();
  const std::int64_t count =
      std::min(static_cast<std::int64_t>(sequence.tokens.size()), kept.context());
  auto segment = file.load(model, sequence, 0, count, nullptr, kept.context());
  kept.adopt(std::move(segment), {sequence.tokens.begin(),
                                  sequence.tokens.begin() + static_cast<std::ptrdiff_t>(count)});
  return count;
}

void save_sequence(const KeptSequence& kept, const std::filesystem::path& path,
                   const KvFileFacts& facts, bool replace) {
  const KvFileEntry entry{-1, kept.tokens(), &kept.segment(), 0};
  write_kv_file(path, facts, {&entry, 1}, replace);
}

}  // namespace qx
