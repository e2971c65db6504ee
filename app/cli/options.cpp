// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <algorithm>
#include <cstdio>

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

FitMethod parse_fit_method(const std::string& name) {
  for (const FitMethod method : {FitMethod::kMse, FitMethod::kGptq})
    if (name == fit_method_name(method)) return method;
  return FitMethod::kMinMax;
}

CLI::Validator number_in(double least, double most) {
  return {[=](std::string& text) -> std::string {
            double value = 0;
            if (CLI::detail::lexical_cast(text, value) && value >= least && value <= most)
              return {};
            return fmt::format("got {}, expected a number from {} to {}", text, least, most);
          },
          fmt::format("FLOAT in [{} - {}]", least, most)};
}

void add_margin_option(CLI::App& verb, double& margin) {
  const auto wrong = [](const std::string& text) -> std::string {
    double value = 0;
    if (CLI::detail::lexical_cast(text, value) && value > 0 && value < 1) return {};
    return fmt::format(
        "got {}, expected a difference of accuracies between 0 and 1: one point is 0.01", text);
  };
  verb.add_option("--margin", margin,
                  "differences shown to be smaller than this are equivalent; in accuracy, 0.01 is "
                  "one point")
      ->capture_default_str()
      ->check(CLI::Validator(wrong, "FLOAT in (0 - 1)"));
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
