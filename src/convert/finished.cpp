// SPDX-License-Identifier: Apache-2.0
#include "convert/finished.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/mapped_file.h"
#include "convert/fitting.h"
#include "convert/layout.h"
#include "convert/output_files.h"
#include "convert/source.h"
#include "convert/source_hashes.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

bool has_shards(const fs::path& directory, const Layout& layout) {
  try {
    for (const std::string& name : layout.shard_names) SafetensorsFile(directory / name);
  } catch (const Error&) {
    return false;
  }
  return true;
}

std::vector<FileHash> hashes_of(const SourceModel& source, ThreadPool& pool) {
  SourceHashes hashes(source.checkpoint().maps(), pool.threads());
  pool.parallel_for(hashes.chunks(), 1, [&](std::size_t, std::size_t, int) {
    check_interrupt();
    hashes.step();
  });
  return hashes.get();
}

// Which tensors fell back is known only from their inputs' factors: taken from the record.
void note_fallbacks(const fs::path& record, const Plan& plan, Fitting& fitting) {
  const Json fit = json_member(read_json_file(record), "fit");
  if (!fit.is_object() || !json_member(fit, "mse_instead").is_array()) return;
  const Json& names = json_member(fit, "mse_instead");
  for (std::size_t t = 0; t < plan.rows.size(); ++t) {
    const bool named = std::any_of(names.begin(), names.end(), [&](const Json& name) {
      return name == plan.rows[t].tensor.name;
    });
    if (named) fitting.fell_back_before(t);
  }
}

bool has_files(const fs::path& directory, const std::map<std::string, std::string>& expected) {
  return std::all_of(expected.begin(), expected.end(), [&](const auto& file) {
    const fs::path path = directory / file.first;
    return fs::is_regular_file(path) && MappedFile(path).text() == file.second;
  });
}

}  // namespace

std::optional<ConvertResult> finished_conversion(const ConvertRequest& request, ThreadPool& pool) {
  const fs::path record = request.target / "qx_plan.json";
  if (!fs::is_regular_file(record)) return std::nullopt;
  ConvertResult result;
  result.plan = plan_conversion(request);
  const SourceModel source(request.source);
  const Layout layout = make_layout(result.plan.plan, request.max_shard_bytes);
  if (!has_shards(request.target, layout)) return std::nullopt;
  Json fit;
  if (request.fit.method != FitMethod::kMinMax) {
    Fitting fitting(request.fit, source, result.plan.plan, request.source);
    note_fallbacks(record, result.plan.plan, fitting);
    fit = fitting.provenance();
    result.notes = fitting.notes();
  }
  if (!has_files(request.target, files_beside_tensors(request, source, result.plan, layout,
                                                      hashes_of(source, pool), std::move(fit)))) {
    return std::nullopt;
  }
  for (const auto& entry : fs::directory_iterator(request.target)) {
    result.files.push_back(entry.path().filename().string());
  }
  std::sort(result.files.begin(), result.files.end());
  result.tensors = result.resumed_tensors = static_cast<std::int64_t>(layout.tensors.size());
  for (const SourceTensor& tensor : source.tensors()) result.source_bytes += tensor.stored_bytes();
  return result;
}

}  // namespace qx
