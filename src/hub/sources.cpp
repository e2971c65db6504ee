// SPDX-License-Identifier: Apache-2.0
#include "hub/sources.h"

#include "base/error.h"
#include "io/staged.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

fs::path sources_file(const fs::path& folder) {
  return folder / "sources.json";
}

// The document with its "files", or an empty one.
Json load_document(const fs::path& file) {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return {{"version", 1}, {"files", Json::object()}};
  Json document = read_json_file(file, std::size_t{1} << 20);
  if (!document.is_object() || !document.contains("files") || !document["files"].is_object()) {
    fail(file.string(), "got no object 'files', expected what qx data fetch writes");
  }
  return document;
}

}  // namespace

std::map<std::string, SourceRecord> load_source_records(const fs::path& folder) {
  const fs::path file = sources_file(folder);
  const Json document = load_document(file);
  std::map<std::string, SourceRecord> records;
  for (const auto& [name, entry] : document["files"].items()) {
    const std::string place = file.string() + ": " + name;
    if (!entry.is_object()) fail(place, "got {}, expected an object", entry.type_name());
    SourceRecord& r = records[name];
    r.task = json_string(entry, "task", place);
    r.service = json_string(entry, "service", place);
    r.dataset = json_string(entry, "dataset", place);
    r.config = json_string(entry, "config", place);
    r.split = json_string(entry, "split", place);
    r.revision = json_string_or(entry, "revision", "", place);
    r.rows = json_int(entry, "rows", place);
    r.bytes = json_int(entry, "bytes", place);
    r.sha256 = json_string(entry, "sha256", place);
    r.fetched = json_string(entry, "fetched", place);
  }
  return records;
}

void save_source_record(const fs::path& folder, const std::string& file, const SourceRecord& r) {
  Json document = load_document(sources_file(folder));
  document["files"][file] = {
      {"task", r.task},       {"service", r.service},
      {"dataset", r.dataset}, {"config", r.config},
      {"split", r.split},     {"revision", r.revision.empty() ? Json() : Json(r.revision)},
      {"rows", r.rows},       {"bytes", r.bytes},
      {"sha256", r.sha256},   {"fetched", r.fetched},
  };
  write_file_atomic(sources_file(folder), dump_json(document, 2, false, true) + "\n", true);
}

}  // namespace qx
