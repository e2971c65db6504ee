// A conversion as a user asks for it: the source may be a GGUF file, and the result is described.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/thread_pool.h"
#include "convert/convert.h"
#include "io/json.h"

namespace qx {

// Whether fit, rounding and calibration go together. Fails: UsageError.
void check_fit(const ConvertRequest& request);

// As convert(); a source that is a GGUF file becomes a Hugging Face directory beside the target
// first, which is removed again whatever happens. source_name, when empty, becomes the source's
// own. Fails: as check_fit, import_gguf and convert.
ConvertResult convert_any(const ConvertRequest& request, ThreadPool& pool);

// The documents of `qx convert --json`. seconds: of the whole command.
Json convert_json(const ConvertResult& result, const ConvertRequest& request, double seconds);
Json dry_run_json(const ConvertPlan& plan, const ConvertRequest& request);

}  // namespace qx
