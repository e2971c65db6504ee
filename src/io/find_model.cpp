// SPDX-License-Identifier: Apache-2.0
#include "io/find_model.h"

#include <cstdlib>
#include <fstream>
#include <system_error>

#include "base/error.h"

namespace qx {
namespace fs = std::filesystem;

namespace {

fs::path hub_cache() {
  if (const char* cache = std::getenv("HF_HUB_CACHE")) return cache;
  if (const char* home = std::getenv("HF_HOME")) return fs::path(home) / "hub";
  if (const char* home = std::getenv("HOME")) return fs::path(home) / ".cache/huggingface/hub";
  return {};
}

// models--owner--name/snapshots/COMMIT, COMMIT from refs/REVISION; empty when not cached.
fs::path find_in_hub_cache(const std::string& id) {
  const std::size_t at = id.find('@');
  const std::string name = id.substr(0, at);
  const std::string revision = at == std::string::npos ? "main" : id.substr(at + 1);
  const std::size_t slash = name.find('/');
  if (slash == std::string::npos || name.find('/', slash + 1) != std::string::npos) return {};
  if (id.find("..") != std::string::npos || revision.find('/') != std::string::npos) return {};
  const fs::path repo =
      hub_cache() / ("models--" + name.substr(0, slash) + "--" + name.substr(slash + 1));
  std::string commit = revision;
  if (std::ifstream ref(repo / "refs" / revision); ref) ref >> commit;
  const fs::path snapshot = repo / "snapshots" / commit;
  return fs::is_directory(snapshot) ? snapshot : fs::path{};
}

}  // namespace

fs::path resolve_model(const std::string& name, bool allow_gguf) {
  std::error_code ignored;
  if (fs::is_directory(name, ignored)) return name;
  if (allow_gguf && fs::is_regular_file(name, ignored) && fs::path(name).extension() == ".gguf") {
    return name;
  }
  const fs::path cached = find_in_hub_cache(name);
  if (!cached.empty()) return cached;
  if (fs::exists(name, ignored)) {
    fail(name, "got a file, expected a model directory{}", allow_gguf ? " or a .gguf file" : "");
  }
  fail(name,
       "no such directory, and no such model in the Hugging Face cache at {}; expected a model "
       "directory{}, or owner/name[@revision] of a downloaded model",
       hub_cache().string(), allow_gguf ? ", a .gguf file" : "");
}

}  // namespace qx
