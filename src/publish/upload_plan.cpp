// SPDX-License-Identifier: Apache-2.0
#include "publish/upload_plan.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/mapped_file.h"
#include "card/card_text.h"
#include "card/facts.h"
#include "publish/unwanted.h"
#include "recipe/directory_map.h"
#include "recipe/summary.h"
#include "text/chat_template.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kMaxScannedBytes = 1'000'000;  // where secrets are looked for
constexpr std::size_t kMaxPlanBytes = std::size_t{64} << 20;

// Of the .gitattributes that the Hub puts into a new model repository, what model directories hold.
bool is_lfs(const std::string& path, std::uint64_t bytes) {
  constexpr std::string_view kEndings[] = {".safetensors", ".gguf", ".bin",  ".model",
                                           ".npz",         ".npy",  ".onnx", ".pt",
                                           ".pth",         ".zip",  ".gz",   ".zst"};
  return bytes > kLfsBytes || std::any_of(std::begin(kEndings), std::end(kEndings),
                                          [&](std::string_view e) { return path.ends_with(e); });
}

class Planner {
 public:
  explicit Planner(const fs::path& directory) : directory_(directory) {}

  UploadPlan plan() {
    list();
    check_weights();
    check_texts();
    check_card();
    return std::move(plan_);
  }

 private:
  void problem(std::string text) { plan_.problems.push_back(std::move(text)); }
  bool has(const char* name) const { return fs::is_regular_file(directory_ / name); }

  void list() {
    if (!fs::is_directory(directory_)) {
      fail(directory_.string(), "is no directory, expected a model directory");
    }
    for (auto it = fs::recursive_directory_iterator(directory_);
         it != fs::recursive_directory_iterator(); ++it) {
      const std::string path = it->path().lexically_relative(directory_).generic_string();
      if (it->is_directory() && it->path().filename() == ".git") {
        plan_.ignored.push_back(path);
        it.disable_recursion_pending();
        continue;
      }
      if (path == ".cache/huggingface" && it->is_directory()) {
        plan_.ignored.push_back(path);
        it.disable_recursion_pending();
        continue;
      }
      if (!it->is_directory() || it->is_symlink()) add(*it, path);
      if (plan_.files.size() > kMaxUploadFiles) {
        fail(directory_.string(), "holds more than {} files, expected a model directory",
             kMaxUploadFiles);
      }
    }
    std::sort(plan_.files.begin(), plan_.files.end(),
              [](const UploadFile& a, const UploadFile& b) { return a.path < b.path; });
  }

  void add(const fs::directory_entry& entry, const std::string& path) {
    if (!is_valid_utf8(path)) problem(path + ": a name that is not UTF-8");
    if (const auto why = unwanted_path(path)) problem(path + ": " + *why);
    std::error_code error;
    if (!fs::is_regular_file(entry.path(), error)) {
      problem(path + (entry.is_symlink() ? ": a link to no file" : ": neither file nor folder"));
      return;
    }
    const std::uint64_t bytes = fs::file_size(entry.path());
    if (entry.is_symlink()) plan_.notes.push_back(path + ": a link; its target's content goes up");
    if (bytes == 0) problem(path + ": empty");
    plan_.files.push_back({path, bytes, is_lfs(path, bytes)});
    plan_.bytes += bytes;
    if (bytes == 0 || bytes > kMaxScannedBytes) return;
    try {
      if (const auto secret = secret_in(MappedFile(entry.path()).text())) {
        problem(path + ": seems to hold " + *secret);
      }
    } catch (const Error& e) {
      problem(path + ": cannot be read");
    }
  }

  // Weights, their index, config.json, and the record of how they were made.
  void check_weights() {
    try {
      const MeasuredDirectory measured = measure_directory(directory_);
      for (const std::string& p : measured.problems) {
        // Every loader reads such files; mlx-lm writes them.
        const bool harmless = p.find("not aligned to their type") != std::string::npos;
        (harmless ? plan_.notes : plan_.problems).push_back(p);
      }
      std::set<std::string> loaded;
      for (const fs::path& file : measured.files) loaded.insert(file.filename().string());
      for (const UploadFile& file : plan_.files) {
        if (file.path.ends_with(".safetensors") && !loaded.contains(file.path)) {
          problem(file.path + ": weights that no loader reads (a stale shard?)");
        }
      }
      plan_hash_ = storage_hash(measured.storage());
      check_provenance();
    } catch (const Error& e) {
      problem(e.what());
    }
  }

  void check_provenance() {
    if (!has("qx_plan.json")) {
      plan_.notes.push_back("no qx_plan.json: how the weights were made is not recorded");
      return;
    }
    const Json plan = read_json_file(directory_ / "qx_plan.json", kMaxPlanBytes);
    if (json_member(plan, "plan_hash") != plan_hash_) {
      problem(fmt::format("qx_plan.json: records another plan than the weights have ({})",
                          plan_hash_.substr(0, 12)));
    }
  }

  void check_texts() {
    if (!has("tokenizer.json")) problem("tokenizer.json: missing");
    if (!has("tokenizer_config.json")) problem("tokenizer_config.json: missing");
    if (!has("generation_config.json")) {
      plan_.notes.push_back(
          "no generation_config.json: where generation ends is left to config.json");
    }
    const bool license =
        std::any_of(plan_.files.begin(), plan_.files.end(), [](const UploadFile& f) {
          return f.path.starts_with("LICENSE") || f.path.starts_with("LICENCE");
        });
    if (!license) plan_.notes.push_back("no LICENSE file: the card's license stands alone");
    try {
      if (!ChatTemplate::load(directory_)) plan_.notes.push_back("no chat template");
    } catch (const Error& e) {
      problem(e.what());
    }
  }

  void check_card() {
    const fs::path readme = directory_ / "README.md";
    if (!has("README.md")) {
      problem("README.md: missing (qx card writes one)");
      return;
    }
    try {
      const MappedFile file(readme);
      const CardText card = read_card(file.text(), "README.md");
      if (!card.front) {
        problem("README.md: no front matter, which the Hub reads");
        return;
      }
      const CardMetadata metadata = read_metadata(readme);
      if (metadata.license.empty()) problem("README.md: no license in the front matter");
      if (metadata.license == "other" && metadata.license_name.empty()) {
        problem("README.md: license 'other' without license_name");
      }
      if (metadata.base_models.empty()) {
        plan_.notes.push_back("README.md: no base_model, so the Hub shows no link to the original");
      }
      if (json_member(card.front->value, "library_name").is_null()) {
        plan_.notes.push_back("README.md: no library_name");
      }
      check_card_plan(card);
    } catch (const Error& e) {
      problem(e.what());
    }
  }

  // A card of qx card names the plan that it is about.
  void check_card_plan(const CardText& card) {
    const std::string start = "Plan hash: ";
    for (const CardItem& item : card.items) {
      if (!item.text.starts_with(start) || plan_hash_.empty()) continue;
      const std::string hash = item.text.substr(start.size(), plan_hash_.size());
      if (hash == plan_hash_) continue;
      problem(fmt::format("README.md:{}: is about plan {}, the weights have plan {}", item.line,
                          hash.substr(0, 12), plan_hash_.substr(0, 12)));
    }
  }

  const fs::path& directory_;
  std::string plan_hash_;
  UploadPlan plan_;
};

std::string quoted(const std::string& text) {
  if (text.find_first_of(" '\"\\$`!*?&;|<>()[]{}#~\n\t") == std::string::npos && !text.empty()) {
    return text;
  }
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

}  // namespace

UploadPlan plan_upload(const fs::path& directory) {
  return Planner(directory).plan();
}

std::string upload_command(const fs::path& directory, const std::string& repository) {
  return "hf upload " + (repository.empty() ? "OWNER/NAME" : quoted(repository)) + " " +
         quoted(directory.string()) + " .";
}

std::string upload_text(const UploadPlan& plan, const std::string& command) {
  std::size_t width = 4;
  for (const UploadFile& file : plan.files) width = std::max(width, file.path.size());
  width = std::min<std::size_t>(width, 56);
  std::string out;
  for (const UploadFile& file : plan.files) {
    out += fmt::format("{:<{}}  {:>15}{}\n", file.path, width, file.bytes, file.lfs ? "  LFS" : "");
  }
  out += fmt::format("{} files, {} bytes ({})\n", plan.files.size(), plan.bytes,
                     bytes_text(static_cast<std::int64_t>(plan.bytes)));
  for (const std::string& path : plan.ignored) out += "left out by the client: " + path + "\n";
  for (const std::string& note : plan.notes) out += "note: " + note + "\n";
  for (const std::string& p : plan.problems) out += "problem: " + p + "\n";
  return out + (plan.problems.empty() ? "no problems found\n\n" : "\n") +
         "Nothing was sent. The upload goes through the Hub's own client:\n  " + command + "\n";
}

Json upload_json(const UploadPlan& plan, const std::string& command) {
  Json files = Json::array();
  for (const UploadFile& file : plan.files) {
    files.push_back({{"path", file.path}, {"bytes", file.bytes}, {"lfs", file.lfs}});
  }
  Json json;
  json["files"] = std::move(files);
  json["bytes"] = plan.bytes;
  json["ignored"] = plan.ignored;
  json["problems"] = plan.problems;
  json["notes"] = plan.notes;
  json["command"] = command;
  return json;
}

}  // namespace qx
