// qx sensitivity: what every code of every tensor costs, for qx search.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "base/error.h"
#include "model/memory_need.h"
#include "options.h"
#include "sensitivity/measure.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct SensitivityFlags {
  std::string model, calibration, target, fit = "gptq", dtype;
  double damping = 0.01;
  std::int64_t windows = 8, direct_windows = 2, validate = 60;
  std::uint64_t seed = 0;
  std::vector<int> bits = {2, 3, 4, 5, 6, 8}, groups = {32, 64, 128};
  bool force = false, allow_swap = false;
  ComputeOptions compute;
  OutputOptions out;
};

template <class T>
void sort_unique(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

// Sums over the tensors of a role, of the middle one of the groups that were asked for.
void print_roles(const Sensitivity& s, const std::vector<int>& bits, int group) {
  struct Sum {
    std::int64_t tensors = 0;
    double gradient = 0;
    std::map<int, double> costs;
  };
  std::vector<std::pair<std::string, Sum>> roles;
  for (const SensitivityTensor& t : s.tensors) {
    auto found = std::find_if(roles.begin(), roles.end(),
                              [&](const auto& role) { return role.first == t.role; });
    if (found == roles.end()) found = roles.insert(roles.end(), {t.role, {}});
    ++found->second.tensors;
    found->second.gradient += t.gradient;
    for (const SensitivityOption& o : t.options) {
      if (o.spec.group == group) found->second.costs[o.spec.bits] += o.cost;
    }
  }
  fmt::print("cost in nats a token, all tensors of a role together, groups of {}\n", group);
  fmt::print("{:<10} {:>7} {:>10}", "role", "tensors", "mean g^2");
  for (const int b : bits) fmt::print(" {:>9}", fmt::format("{} bits", b));
  fmt::print("\n");
  for (const auto& [role, sum] : roles) {
    fmt::print("{:<10} {:>7} {:>10}", role, sum.tensors,
               sum.gradient > 0
                   ? fmt::format("{:.2e}", sum.gradient / static_cast<double>(sum.tensors))
                   : std::string("measured"));
    for (const int b : bits) {
      const auto cost = sum.costs.find(b);
      fmt::print(" {:>9}",
                 cost == sum.costs.end() ? std::string("-") : fmt::format("{:.5f}", cost->second));
    }
    fmt::print("\n");
  }
}

void print_report(const SensitivityFlags& o, const SensitivityReport& report) {
  const Sensitivity& s = report.result;
  for (const std::string& note : report.notes) fmt::print(stderr, "note: {}\n", note);
  print_roles(s, o.bits, o.groups[o.groups.size() / 2]);
  if (s.validation) {
    const SensitivityValidation& v = *s.validation;
    fmt::print(
        "{} codes measured directly: correlation of the logarithms {}, median of direct over "
        "model {}\n",
        v.pairs.size(), v.log_pearson ? fmt::format("{:.3f}", *v.log_pearson) : std::string("-"),
        v.median_ratio ? fmt::format("{:.2f}", *v.median_ratio) : std::string("-"));
  }
  fmt::print(
      "gradients {:.1f} s, costs {:.1f} s, embedding and head {:.1f} s, validation {:.1f} s\n",
      report.gradient_seconds, report.cost_seconds, report.measured_seconds,
      report.validation_seconds);
  if (!o.target.empty()) fmt::print("{}\n", o.target);
}

void run(SensitivityFlags& o) {
  sort_unique(o.bits);
  sort_unique(o.groups);
  SensitivityRequest request;
  request.model = resolve_model(o.model);
  request.calibration = o.calibration;
  request.fit = parse_fit_method(o.fit);
  request.damping = o.damping;
  if (!o.dtype.empty()) request.dtype = float_dtype_from_config(o.dtype);
  request.windows = o.windows;
  request.direct_windows = o.direct_windows;
  request.validate = o.validate;
  request.seed = o.seed;
  request.bits = o.bits;
  request.groups = o.groups;
  request.quiet = o.out.quiet;
  if (!o.target.empty()) require_absent(o.target, o.force);
  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  require_memory("sensitivity", request.model, 512, KvBits::k32, o.allow_swap, {.rows = 512});
  const SensitivityReport report = measure_sensitivity(request, *pool);
  if (!o.target.empty()) write_sensitivity(o.target, report.result, o.force);
  if (o.out.json) {
    Json json = sensitivity_json(report.result);
    json["notes"] = report.notes;
    json["seconds"] = {{"gradients", report.gradient_seconds},
                       {"costs", report.cost_seconds},
                       {"measured", report.measured_seconds},
                       {"validation", report.validation_seconds}};
    if (!o.target.empty()) json["output"] = o.target;
    fmt::print("{}\n", dump_json(json, 2, false, false));
    return;
  }
  print_report(o, report);
}

}  // namespace

void add_sensitivity(CLI::App& app) {
  auto options = std::make_shared<SensitivityFlags>();
  SensitivityFlags& o = *options;
  CLI::App* verb = app.add_subcommand(
      "sensitivity", "what every code of every tensor costs, as KL divergence, for qx search");
  verb->add_option("-m,--model", o.model, "model directory with float weights, or cached Hub id")
      ->required();
  verb->add_option("--calibration", o.calibration, "what qx calibrate wrote of this model")
      ->required();
  verb->add_option("-o,--output", o.target, "the file to write (.json)");
  verb->add_option("--fit", o.fit, "whose codes are judged, as in qx convert --fit")
      ->check(CLI::IsMember({"minmax", "mse", "gptq"}))
      ->capture_default_str();
  verb->add_option("--damping", o.damping, "gptq: as in qx convert")
      ->check(number_in(0, 1))
      ->capture_default_str();
  verb->add_option("--dtype", o.dtype, "type of scales and biases (default: as qx convert chooses)")
      ->check(CLI::IsMember({"bfloat16", "float16", "float32"}));
  verb->add_option("--bits", o.bits, "widths")
      ->check(CLI::IsMember({2, 3, 4, 5, 6, 8}))
      ->delimiter(',')
      ->capture_default_str();
  verb->add_option("--groups", o.groups, "sizes of groups")
      ->check(CLI::IsMember({32, 64, 128}))
      ->delimiter(',')
      ->capture_default_str();
  verb->add_option("--windows", o.windows, "windows of the calibration that go through backwards")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  verb->add_option("--direct-windows", o.direct_windows, "windows of a direct measurement")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  verb->add_option("--validate", o.validate,
                   "codes drawn at random and measured directly, to say how good the costs are")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 20))
      ->capture_default_str();
  verb->add_option("--seed", o.seed, "of the tokens and codes that are drawn")
      ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{1} << 62))
      ->capture_default_str();
  verb->add_flag("--force", o.force, "replace an existing file");
  add_compute_options(*verb, o.compute);
  add_memory_option(*verb, o.allow_swap);
  add_output_options(*verb, o.out);
  set_example(*verb,
              "qx sensitivity -m models/base --calibration base.calibration.safetensors -o "
              "base.sensitivity.json");
  verb->callback([options] { run(*options); });
}

}  // namespace qx::cli
