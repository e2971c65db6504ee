// qx import: a Hugging Face model directory out of a GGUF file.
// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/thread_pool.h"
#include "convert/import_gguf.h"
#include "options.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct ImportFlags {
  std::string source, target, dtype = "bfloat16";
  bool force = false;
  std::optional<std::uint64_t> permute_channels;
  int threads = 0;
  OutputOptions output;
};

void run(const ImportFlags& options) {
  const auto dtype = float_dtype_from_config(options.dtype);
  if (!dtype) {
    throw UsageError(
        fmt::format("--dtype: got '{}', expected bfloat16, float16 or float32", options.dtype));
  }
  require_absent(options.target, options.force);
  ThreadPool pool(options.threads > 0 ? options.threads : physical_cores());
  const ImportReport report = import_gguf(options.source, options.target,
                                          {.dtype = *dtype,
                                           .force = options.force,
                                           .quiet = options.output.quiet,
                                           .permute_channels = options.permute_channels},
                                          pool);
  if (options.output.json) {
    Json json = {{"output", options.target},
                 {"model_type", report.model_type},
                 {"parameters", report.parameters},
                 {"dtype", options.dtype},
                 {"tensor_bytes", report.tensor_bytes},
                 {"files", report.files}};
    if (options.permute_channels) json["permute_channels"] = *options.permute_channels;
    fmt::print("{}\n", dump_json(json, 2, false, true));
    return;
  }
  fmt::print("{}: {}, {:.1f} M parameters, {:.1f} MB of {} weights\n", options.target,
             report.model_type, static_cast<double>(report.parameters) / 1e6,
             static_cast<double>(report.tensor_bytes) / 1e6, options.dtype);
  for (const std::string& file : report.files) fmt::print("  {}\n", file);
}

}  // namespace

void add_import(CLI::App& app) {
  auto options = std::make_shared<ImportFlags>();
  CLI::App* verb = app.add_subcommand(
      "import", "write a Hugging Face model directory from a GGUF file (llama, qwen2, qwen3)");
  verb->add_option("FILE", options->source, "the GGUF file")->required();
  verb->add_option("-o,--output", options->target, "the directory to write")->required();
  verb->add_option("--dtype", options->dtype, "type of the weights: bfloat16, float16 or float32")
      ->capture_default_str();
  verb->add_flag("--force", options->force, "replace an existing directory");
  verb->add_option("--threads", options->threads, "worker threads (default: physical cores)")
      ->check(CLI::Range(1, 1024));
  verb->add_option(
      "--permute-channels", options->permute_channels,
      "put the channels in another order, drawn from this SEED: the same function, other "
      "groups (docs/fitting.md)");
  add_output_options(*verb, options->output);
  set_example(*verb, "qx import SmolLM2-135M-Instruct.Q4_1.gguf -o models/SmolLM2-135M-Instruct");
  verb->callback([options] { run(*options); });
}

}  // namespace qx::cli
