// Whether a conversion that is asked for was made before.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "base/thread_pool.h"
#include "convert/convert.h"

namespace qx {

// What convert(request) would answer, where the directory request.target is what it would make: all tensor
// files are there, and every other file (qx_plan.json with hashes of the source among them) is the same to
// the byte. Nothing otherwise. Reads the whole source for its hashes. Fails: Error, as plan_conversion() and
// the calibration do; Interrupted.
std::optional<ConvertResult> finished_conversion(const ConvertRequest& request, ThreadPool& pool);

}  // namespace qx
