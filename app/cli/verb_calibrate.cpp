// qx calibrate: what the linear layers of a model read of a text, for convert --fit.
// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/interrupt.h"
#include "calibrate/calibrate.h"
#include "calibrate/overlap.h"
#include "distance_options.h"
#include "model/memory_need.h"
#include "options.h"
#include "tasks/task.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct CalibrateFlags {
  std::string model, text, target, format = "auto", token_weights = "equal";
  std::int64_t windows = 128, ctx = 512, memory_mb = 0;
  std::optional<std::uint64_t> seed;
  double skip = 0, share = 1, keep_seconds = 60;
  bool chat = false, force = false, resume = false, allow_swap = false;
  ComputeOptions compute;
  OutputOptions out;
};

// To stderr: items that the text has in it. To JSON: all of it.
Json report_overlaps(const CalibrateReport& report) {
  Json out = Json::array();
  bool found = false;
  std::vector<const Task*> tasks;
  for (const Task& task : all_tasks()) tasks.push_back(&task);
  for (const TaskOverlap& t : task_overlaps(report.ngrams, tasks, std::nullopt)) {
    out.push_back({{"task", t.task},
                   {"file", t.file},
                   {"items", t.items},
                   {"judged", t.judged},
                   {"shared", t.shared}});
    const std::string text = overlap_text(t);
    found = found || !text.empty();
    if (!text.empty()) fmt::print(stderr, "qx calibrate: warning: {}\n", text);
  }
  if (found) {
    fmt::print(
        stderr,
        "qx calibrate: what a model was fitted to says little about it; use another text, or "
        "leave these items out\n");
  }
  return out;
}

void check(const CalibrateFlags& o) {
  if (o.text.empty() && (o.chat || o.skip > 0 || o.share < 1)) {
    throw UsageError("--chat, --skip and --share go with --text");
  }
  if (!o.text.empty() && o.seed) {
    throw UsageError("--seed is of the model's own text, which --text replaces");
  }
  if (o.resume && o.force) throw UsageError("--resume and --force exclude each other");
}

CalibrateReport calibrate_or_explain(const CalibrateRequest& request, ThreadPool& pool) {
  try {
    return calibrate(request, pool);
  } catch (const Interrupted&) {
    fmt::print(stderr, "qx calibrate: --resume goes on from what was kept, if anything was\n");
    throw;
  }
}

void run(const CalibrateFlags& o) {
  check(o);
  require_text_part(o.skip, o.share);
  const auto start = std::chrono::steady_clock::now();
  CalibrateRequest request;
  request.model = resolve_model(o.model);
  request.text = o.text;
  request.target = o.target;
  request.format = parse_text_format(o.format);
  request.chat = o.chat;
  request.windows = o.windows;
  request.ctx = o.ctx;
  request.skip = o.skip;
  request.share = o.share;
  request.token_weights = parse_token_weighting(o.token_weights);
  request.memory_bytes = o.memory_mb * 1'000'000;
  request.seed = o.seed.value_or(1);
  request.keep_seconds = o.keep_seconds;
  request.resume = o.resume;
  request.force = o.force;
  request.quiet = o.out.quiet;
  require_absent(request.target, o.force);
  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  require_memory("calibrate", request.model, o.ctx, KvBits::k32, o.allow_swap, {.rows = o.ctx});
  const CalibrateReport report = calibrate_or_explain(request, *pool);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!report.note.empty()) fmt::print(stderr, "qx calibrate: {}\n", report.note);
  const Json overlaps = report_overlaps(report);
  if (o.out.json) {
    Json json = report.info;
    json["overlaps"] = overlaps;
    json["resumed_windows"] = report.resumed_windows;
    json["output"] = o.target;
    json["bytes"] = report.file_bytes;
    json["inputs"] = report.inputs;
    json["passes"] = report.passes;
    json["seconds"] = seconds;
    fmt::print("{}\n", dump_json(json, 2, false, false));
    return;
  }
  fmt::print("{}: {} inputs over {} tokens ({} windows of {}), {:.1f} MB, {} pass{}, {:.1f} s\n",
             o.target, report.inputs, report.tokens, report.tokens / o.ctx, o.ctx,
             static_cast<double>(report.file_bytes) / 1e6, report.passes,
             report.passes == 1 ? "" : "es", seconds);
}

}  // namespace

void add_calibrate(CLI::App& app) {
  auto options = std::make_shared<CalibrateFlags>();
  CalibrateFlags& o = *options;
  CLI::App* verb = app.add_subcommand(
      "calibrate", "measure what a model's linear layers read of a text, for convert --fit");
  verb->add_option("-m,--model", o.model, "model directory with float weights, or cached Hub id")
      ->required();
  verb->add_option(
      "--text", o.text,
      "the text: a file, or JSON lines of {\"messages\"}, {\"prompt\",\"completion\"} or "
      "{\"text\"} (default: the model's own samples at temperature 1)");
  verb->add_option("--seed", o.seed, "of the model's own samples (1)");
  verb->add_option("-o,--output", o.target, "the file to write (.safetensors)")->required();
  add_text_part_options(*verb, o.format, o.chat, o.skip, o.share);
  verb->add_option("--windows", o.windows,
                   "windows at most, spread evenly over the part of the text that is used")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))
      ->capture_default_str();
  verb->add_option("--ctx", o.ctx, "tokens of a window")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 20))
      ->capture_default_str();
  verb->add_option("--token-weights", o.token_weights,
                   "equal: every token counts alike; gradient: more where an error moves the "
                   "model's next token more, by a backward pass of every window (four times the "
                   "time, lower KL)")
      ->check(CLI::IsMember({"equal", "gradient"}))
      ->capture_default_str();
  verb->add_option("--memory", o.memory_mb,
                   "MB for the sums (default: half of what is available); what does not fit takes "
                   "further passes over the text")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  verb->add_flag("--resume", o.resume, "go on from where a stopped calibration kept its sums");
  verb->add_option("--keep-seconds", o.keep_seconds,
                   "keep the sums for a resume this often, at the end of a window")
      ->check(number_in(0, 1e9))
      ->capture_default_str();
  verb->add_flag("--force", o.force, "replace an existing file");
  add_compute_options(*verb, o.compute);
  add_memory_option(*verb, o.allow_swap);
  add_output_options(*verb, o.out);
  set_example(
      *verb,
      "qx calibrate -m models/base --text wiki.txt --share 0.4 -o base.calibration.safetensors");
  verb->callback([options] { run(*options); });
}

}  // namespace qx::cli
