// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "kernels/api.h"
#include "model/memory_need.h"

namespace qx::cli {
namespace fs = std::filesystem;

namespace {

// Of the tables that this machine can run, slowest first.
std::string kernel_names() {
  std::string names;
  const KernelTables& all = available_kernels();
  for (int i = 0; i < all.count; ++i) {
    names += (i == 0 ? "" : ", ") + std::string(all.tables[i]->name);
  }
  return names;
}

}  // namespace

void add_output_options(CLI::App& verb, OutputOptions& options) {
  verb.add_flag("--json", options.json, "print one JSON document on stdout and nothing else there");
  verb.add_flag("--quiet", options.quiet, "no progress on stderr");
}

void add_compute_options(CLI::App& verb, ComputeOptions& options) {
  verb.add_option("--threads", options.threads, "worker threads (default: physical cores)")
      ->check(CLI::Range(1, 1024));
  verb.add_option("--isa", options.isa,
                  "kernels to use instead of the fastest; here there are " + kernel_names());
}

std::unique_ptr<ThreadPool> start_compute(const ComputeOptions& options, int processes) {
  if (!options.isa.empty() && !select_kernels(options.isa.c_str())) {
    throw UsageError(fmt::format("--isa: got '{}', expected one that this machine has: {}",
                                 options.isa, kernel_names()));
  }
  // A launcher may have bound each process to cores of its own already: physical_cores() are those.
  const int share = std::min(physical_cores(), std::max(1, machine_cores() / processes));
  return std::make_unique<ThreadPool>(options.threads > 0 ? options.threads : share);
}

void add_memory_option(CLI::App& verb, bool& allow_swap) {
  verb.add_flag("--allow-swap", allow_swap,
                "run a model that does not fit in memory all the same, from the disk");
}

void require_memory(const char* verb, const fs::path& directory, std::int64_t context,
                    KvBits kv_bits, bool allow_swap, const MemoryUse& use) {
  const ModelConfig config = load_model_config(directory);
  const std::string warning =
      check_memory(directory, config, std::min(context, config.max_position_embeddings), kv_bits,
                   allow_swap, use.rows, use.processes);
  if (use.warn && !warning.empty()) fmt::print(stderr, "qx {}: warning: {}\n", verb, warning);
}

void add_precision_option(CLI::App& verb, std::string& precision, Precision fallback) {
  verb.add_option("--precision", precision,
                  fmt::format("arithmetic of linear layers (default: {}). reference: float32 "
                              "activations; exact: 16 bits a group of activations on quantized "
                              "weights; fast: 8 bits, and bfloat16 ones on bfloat16 weights",
                              precision_name(fallback)));
}

Precision parse_precision(const std::string& precision, Precision fallback) {
  if (precision.empty()) return fallback;
  for (const Precision p : {Precision::kReference, Precision::kExact, Precision::kFast}) {
    if (precision == precision_name(p)) return p;
  }
  throw UsageError(
      fmt::format("--precision: got '{}', expected reference, exact or fast", precision));
}

void add_kv_bits_option(CLI::App& verb, int& kv_bits) {
  verb.add_option("--kv-bits", kv_bits,
                  "bits of the keys and values kept: 32, or 16, 8 or 4 for less memory")
      ->check(CLI::IsMember({32, 16, 8, 4}))
      ->capture_default_str();
}

KvBits parse_kv_bits(int kv_bits) {
  return static_cast<KvBits>(kv_bits);
}

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

void set_example(CLI::App& verb, const std::string& example) {
  verb.footer("Example:\n  " + example);
}

void require_absent(const fs::path& target, bool force) {
  if (!force && fs::exists(fs::symlink_status(target))) {
    fail(target.string(), "exists already, expected a new path; remove it or add --force");
  }
}

}  // namespace qx::cli
