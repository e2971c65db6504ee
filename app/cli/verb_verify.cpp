// qx verify: whether a directory is exactly what quantizing a source gives.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <memory>

#include "base/gate_error.h"
#include "convert/verify.h"
#include "io/json.h"
#include "options.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct VerifyFlags {
  std::string directory, source, calibration;
  std::int64_t fit_memory_mb = 0;
  ComputeOptions compute;
  OutputOptions out;
};

std::string storage_text(const TensorCheck& t) {
  if (!t.affine) return fmt::format("float {}", dtype_name(t.dtype));
  return fmt::format("{} bits, group {}, {}", t.affine->bits, t.affine->group, dtype_name(t.dtype));
}

const char* rounding_text(const Verification& v) {
  const bool cpu = v.is_exact(Rounding::kCpu), gpu = v.is_exact(Rounding::kGpu);
  return cpu && gpu ? "either" : cpu ? "cpu" : gpu ? "gpu" : "none";
}

Json verification_json(const Verification& v) {
  Json json;
  json["exact"] = v.holds();
  json["rounding"] = v.fit.empty() ? Json(rounding_text(v)) : Json();
  json["fit"] = v.fit.empty() ? Json() : Json(v.fit);
  json["tensors"] = Json::array();
  for (const TensorCheck& t : v.tensors) {
    Json entry;
    entry["name"] = t.name;
    entry["bits"] = t.affine ? Json(t.affine->bits) : Json(8 * dtype_bytes(t.dtype));
    entry["group_size"] = t.affine ? Json(t.affine->group) : Json();
    entry[t.affine ? "groups" : "values"] = t.units;
    for (const auto& [r, name] :
         {std::pair{std::size_t{0}, "cpu"}, std::pair{std::size_t{1}, "gpu"}}) {
      Json& one = entry[name];
      one["different"] = t.different[r];
      one["first"] = t.first[r].empty() ? Json() : Json(t.first[r]);
    }
    json["tensors"].push_back(std::move(entry));
  }
  return json;
}

void print_text(const Verification& v) {
  constexpr int kShown = 10;
  std::int64_t both = 0;
  int differing = 0;
  for (const TensorCheck& t : v.tensors) {
    both += t.is_exact(Rounding::kCpu) && t.is_exact(Rounding::kGpu) ? 1 : 0;
    // What the better rounding leaves; when one holds for all, the other's differences are of no interest.
    const std::size_t r = t.different[1] < t.different[0] ? 1 : 0;
    if (v.holds() || t.different[r] == 0 || ++differing > kShown) continue;
    const std::string how = !v.fit.empty() ? v.fit : r == 0 ? "cpu rounding" : "gpu rounding";
    fmt::print("{}  {}: {} of {} {} differ ({}), first at {}\n", t.name, storage_text(t),
               t.different[r], t.units, t.affine ? "groups" : "values", how, t.first[r]);
  }
  if (differing > kShown) {
    fmt::print("and {} more of {} tensors (--json lists all)\n", differing - kShown,
               v.tensors.size());
  }
  if (v.holds() && !v.fit.empty()) {
    fmt::print("exact: every one of {} tensors is what source and calibration give, {} codes\n",
               v.tensors.size(), v.fit);
  } else if (v.holds()) {
    fmt::print("exact: every one of {} tensors is what the source gives, {} rounding\n",
               v.tensors.size(),
               v.is_exact(Rounding::kCpu) && v.is_exact(Rounding::kGpu) ? "cpu as well as gpu"
                                                                        : rounding_text(v));
    fmt::print("({} tensors are the same under both)\n", both);
  }
}

void run(const VerifyFlags& o) {
  const auto directory = resolve_model(o.directory), source = resolve_model(o.source);
  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  const Verification v = o.calibration.empty()
                             ? verify_directory(directory, source, *pool, o.out.quiet)
                             : verify_fitted(directory, source, o.calibration,
                                             o.fit_memory_mb * 1'000'000, *pool, o.out.quiet);
  if (o.out.json) {
    fmt::print("{}\n", dump_json(verification_json(v), 2, false, false));
  } else {
    print_text(v);
  }
  if (!v.holds()) {
    throw GateError(fmt::format("[{}] is not what quantizing {} gives{}", directory.string(),
                                source.string(),
                                v.fit.empty() ? " under either rounding" : " with this fit"));
  }
}

}  // namespace

void add_verify(CLI::App& app) {
  auto options = std::make_shared<VerifyFlags>();
  VerifyFlags& o = *options;
  CLI::App* verb = app.add_subcommand(
      "verify", "whether a directory is exactly what quantizing a source gives (exit 3 when not)");
  verb->add_option("DIR", o.directory, "model directory, or cached Hub id")->required();
  verb->add_option("--source", o.source, "what it was made from")->required();
  verb->add_option("--calibration", o.calibration,
                   "of fitted codes: the calibration that they were fitted with");
  verb->add_option("--fit-memory", o.fit_memory_mb,
                   "of gptq codes: MB for factors (default: half of what is available)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  add_compute_options(*verb, o.compute);
  add_output_options(*verb, o.out);
  set_example(*verb, "qx verify models/q4-hi --source models/base");
  verb->callback([options] { run(*options); });
}

}  // namespace qx::cli
