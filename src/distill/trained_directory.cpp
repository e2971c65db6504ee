// SPDX-License-Identifier: Apache-2.0
#include "distill/trained_directory.h"

#include <span>

#include "base/error.h"
#include "base/interrupt.h"
#include "io/safetensors.h"
#include "io/staged.h"
#include "recipe/directory_map.h"
#include "recipe/plan.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr const char* kRecordFile = "qx_plan.json";
constexpr std::size_t kPiece = std::size_t{8} << 20;

// Returns how many arrays were replaced.
std::size_t rewrite(const fs::path& from, const fs::path& to,
                    const std::map<std::string, std::vector<std::byte>>& replaced) {
  const SafetensorsFile file(from);
  std::vector<SafetensorsWriter::Entry> entries;
  for (const TensorView& tensor : file.tensors()) {
    entries.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  SafetensorsWriter writer(to, std::move(entries), file.metadata());
  std::size_t count = 0;
  for (std::size_t i = 0; i < file.tensors().size(); ++i) {
    const TensorView& tensor = file.tensors()[i];
    std::span<const std::byte> data = tensor.data;
    if (const auto found = replaced.find(tensor.name); found != replaced.end()) {
      QX_CHECK(found->second.size() == data.size());
      data = found->second;
      ++count;
    }
    for (std::size_t at = 0; at < data.size(); at += kPiece) {
      check_interrupt();
      writer.write(i, at, data.subspan(at, std::min(kPiece, data.size() - at)));
    }
  }
  writer.finish();
  return count;
}

// A directory that another program made has no record: then the plan's hash, by which readers know that a
// record is of these weights, and the fit are all that it says.
Json amended_record(const fs::path& source, const Json& fit) {
  const fs::path path = source / kRecordFile;
  Json record;
  if (fs::exists(path)) {
    record = read_json_file(path);
    if (!record.is_object()) fail(path.string(), "got no JSON object, expected one");
  } else {
    record = {{"plan_hash", storage_hash(measure_directory(source).storage())}};
  }
  record["fit"] = fit;
  return record;
}

}  // namespace

void write_with_arrays(const fs::path& source, const fs::path& target,
                       const std::map<std::string, std::vector<std::byte>>& replaced,
                       const Json& fit, bool force) {
  StagedDirectory staged(target, force);
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(source)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  check_disk_space(staged.path(), bytes);
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator(source)) {
    if (!entry.is_regular_file()) continue;
    const fs::path to = staged.path() / entry.path().filename();
    if (entry.path().extension() == ".safetensors") {
      count += rewrite(entry.path(), to, replaced);
    } else if (entry.path().filename() != kRecordFile) {
      fs::copy_file(entry.path(), to);
    }
  }
  write_file_atomic(staged.path() / kRecordFile,
                    dump_json(amended_record(source, fit), 2, false, true) + "\n", false);
  if (count != replaced.size()) {
    fail(source.string(), "got {} of {} trained arrays in its files, expected all, once each",
         count, replaced.size());
  }
  staged.commit();
}

}  // namespace qx
