// qx distill: scales and biases of a quantized model adjusted towards the model it was made from.
// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <memory>

#include "base/error.h"
#include "distance_options.h"
#include "distill/distill.h"
#include "options.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct DistillFlags {
  std::string model, base, format = "auto", text, calibration, target;
  DistillRequest request;
  ComputeOptions compute;
  OutputOptions out;
};

void run(const DistillFlags& o) {
  if (o.text.empty() == o.calibration.empty()) {
    throw UsageError("expected one of --text FILE and --calibration FILE");
  }
  DistillRequest request = o.request;
  require_text_part(request.skip, request.share);
  const auto start = std::chrono::steady_clock::now();
  request.quantized = resolve_model(o.model);
  request.base = resolve_model(o.base);
  request.text = o.text;
  request.calibration = o.calibration;
  request.target = o.target;
  request.format = parse_text_format(o.format);
  request.quiet = o.out.quiet;
  require_absent(request.target, request.force);
  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  const DistillReport report = distill(request, *pool);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (o.out.json) {
    Json json = report.record;
    json["output"] = o.target;
    json["groups"] = report.groups;
    json["seconds"] = seconds;
    fmt::print("{}\n", dump_json(json, 2, false, false));
    return;
  }
  fmt::print(
      "{}: {} groups, {} steps over {} windows; KL on {} other windows of the text {:.5f}, was "
      "{:.5f} (step {} kept), {:.0f} s\n",
      o.target, report.groups, request.steps, report.windows, report.validation, report.kl,
      report.start_kl, report.kept_step, seconds);
}

}  // namespace

void add_distill(CLI::App& app) {
  auto options = std::make_shared<DistillFlags>();
  DistillFlags& o = *options;
  CLI::App* verb = app.add_subcommand(
      "distill", "adjust the scales and biases of a quantized model to the model it was made from");
  verb->add_option("-m,--model", o.model, "the quantized directory to start from")->required();
  verb->add_option("--base", o.base, "the model it was made from")->required();
  verb->add_option("--text", o.text,
                   "the text: a file, or JSON lines of {\"messages\"}, {\"prompt\",\"completion\"} "
                   "or {\"text\"}");
  CLI::Option* calibration = verb->add_option(
      "--calibration", o.calibration, "instead of a text: the windows that qx calibrate read");
  verb->add_option("-o,--output", o.target, "the directory to write")->required();
  add_text_part_options(*verb, o.format, o.request.chat, o.request.skip, o.request.share);
  verb->add_option("--steps", o.request.steps, "windows to learn from, one a step")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))
      ->capture_default_str();
  verb->add_option("--rate", o.request.rate,
                   "how far a step moves weights at first, as a part of the distance between codes")
      ->check(number_in(0, 1))
      ->capture_default_str();
  verb->add_option("--ctx", o.request.ctx, "tokens of a window")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 20))
      ->capture_default_str();
  verb->add_option("--validation", o.request.validation,
                   "windows that are not learned from and decide which values are kept")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  for (const char* name : {"--text-format", "--chat", "--skip", "--share", "--ctx"}) {
    calibration->excludes(verb->get_option(name));
  }
  verb->add_option("--seed", o.request.seed, "of the order of windows")->capture_default_str();
  verb->add_flag("--force", o.request.force, "replace an existing directory");
  add_compute_options(*verb, o.compute);
  add_output_options(*verb, o.out);
  set_example(*verb,
              "qx distill -m models/q4-hi-gptq --base models/base --text wiki.txt --share 0.4 -o "
              "models/q4-hi-distilled");
  verb->callback([options] { run(*options); });
}

}  // namespace qx::cli
