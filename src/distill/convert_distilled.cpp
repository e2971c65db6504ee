// SPDX-License-Identifier: Apache-2.0
#include "distill/convert_distilled.h"

#include <utility>

#include "base/error.h"
#include "base/interrupt.h"
#include "convert/convert_any.h"
#include "convert/finished.h"
#include "io/staged.h"

namespace qx {
namespace fs = std::filesystem;

namespace {

// The codes at request.target, of an attempt that was interrupted while it distilled them or made now.
ConvertResult fitted_codes(const ConvertRequest& request, ThreadPool& pool) {
  if (request.resume) {
    if (std::optional<ConvertResult> finished = finished_conversion(request, pool)) {
      finished->notes.emplace_back("resumed: all codes were fitted already");
      return *std::move(finished);
    }
  }
  return convert(request, pool);
}

// Whether there will be something to learn from: known before the long work of fitting.
void require_windows(const ConvertRequest& request, const DistillRequest& training) {
  DistillRequest learn = training;
  learn.base = request.source;
  learn.calibration = request.fit.calibration;
  check_calibration_windows(learn);
}

}  // namespace

DistilledConversion convert_distilled(const ConvertRequest& request, const DistillRequest& training,
                                      ThreadPool& pool) {
  QX_CHECK(!request.fit.calibration.empty());
  if (fs::exists(request.target) && !request.force) {
    fail(request.target.string(), "exists already, expected a new path; remove it or add --force");
  }
  require_windows(request, training);
  SideDirectory start(request.target, ".qx-start", request.resume);
  const bool left = !fs::is_empty(start.path().parent_path());  // by an earlier attempt
  DistilledConversion out;
  bool fitted = false;
  try {
    ConvertRequest codes = request;
    codes.target = start.path();
    codes.force = true;  // what a killed attempt left there
    out.converted = fitted_codes(codes, pool);
    fitted = true;
    DistillRequest learn = training;
    learn.base = request.source;
    learn.quantized = start.path();
    learn.calibration = request.fit.calibration;
    learn.target = request.target;
    learn.keep_start = true;
    learn.force = request.force;
    learn.quiet = request.quiet;
    out.distilled = distill(learn, pool);
  } catch (const Interrupted& e) {
    start.keep();
    throw Interrupted{fitted ? "the fitted codes were kept, not what distilling had learned; "
                               "--resume goes on from there"
                             : e.hint};
  } catch (...) {
    // What was fitted is worth more than a mistake behind it.
    if (fitted || left) start.keep();
    throw;
  }
  if (out.distilled.kept_step == 0) {
    out.converted.notes.push_back(fmt::format(
        "distillation never came below the KL of {:.5f} that the fitted codes have on the "
        "validation windows: their own scales were kept",
        out.distilled.start_kl));
  }
  return out;
}

void check_training(const DistillRequest& training, std::string_view fit) {
  const DistillRequest none;
  const bool asked =
      training.steps != none.steps || training.rate != none.rate || training.seed != none.seed;
  if (asked && fit != "distill") {
    throw UsageError(fmt::format("--steps, --rate and --seed go with --fit distill, got {}", fit));
  }
}

FittedConversion convert_fitted(const ConvertRequest& request,
                                const std::optional<DistillRequest>& training, ThreadPool& pool) {
  FittedConversion out;
  if (!training) {
    out.converted = convert_any(request, pool);
    return out;
  }
  out.converted = convert_any(request, pool, [&](const ConvertRequest& whole, ThreadPool& threads) {
    DistilledConversion made = convert_distilled(whole, *training, threads);
    out.distilled = std::move(made.distilled);
    return std::move(made.converted);
  });
  return out;
}

Json fitted_json(const FittedConversion& made, const ConvertRequest& request, double seconds) {
  Json json = convert_json(made.converted, request, seconds);
  if (made.distilled) {
    json["fit"] = "distill";
    json["distilled"] = made.distilled->record;
  }
  return json;
}

}  // namespace qx
