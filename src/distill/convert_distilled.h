// A conversion whose fitted codes are kept while their scales and biases are distilled.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "base/thread_pool.h"
#include "convert/convert.h"
#include "distill/distill.h"

namespace qx {

struct DistilledConversion {
  ConvertResult converted;  // of the codes; notes say where distillation gained nothing
  DistillReport distilled;
};

// What convert() makes of `request` with its fit, then distill() of that towards request.source on the
// windows of the calibration that the fit names. Of `training` only steps, validation, rate and seed
// count. Where distillation lowers KL on no validation window's mean, the codes' own scales are kept: the
// directory is made all the same. The conversion lies beside the target in .NAME.qx-start meanwhile, which is
// locked. With request.resume the conversion goes on where it stopped, and is taken as it is where it was
// finished and is of this request and source; distillation always starts over.
// Windows that distill() would refuse are refused before anything is fitted. Fails: as both do; .NAME.qx-start
// is kept for a resume where the codes were fitted, or where a resume found it. Interrupted: it is kept;
// the hint says so where there is something to go on from. The target is whole or absent.
DistilledConversion convert_distilled(const ConvertRequest& request, const DistillRequest& training,
                                      ThreadPool& pool);

// Whether steps, rate and seed go with the fit, by the name that the user gave it. Fails: UsageError.
void check_training(const DistillRequest& training, std::string_view fit);

// A conversion with any fit, as a user asks for it.
struct FittedConversion {
  ConvertResult converted;
  std::optional<DistillReport> distilled;
};

// convert_any(), which with `training` calls convert_distilled() in the place of convert(). Fails: as
// these do.
FittedConversion convert_fitted(const ConvertRequest& request,
                                const std::optional<DistillRequest>& training, ThreadPool& pool);

// The document of `qx convert --json`. seconds: of the whole command.
Json fitted_json(const FittedConversion& made, const ConvertRequest& request, double seconds);

}  // namespace qx
