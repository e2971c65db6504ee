// A conversion as a user asks for it: the source may be a GGUF file, and the result is described.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string_view>

#include "base/thread_pool.h"
#include "convert/convert.h"
#include "io/json.h"

namespace qx {

// Whether the fit and what is asked of it, rounding and calibration go together. asked: the fit's
// name as the user said it, when it is not the method's own. Fails: UsageError.
void check_fit(const ConvertRequest& request, std::string_view asked = {});

// As convert(), or as `make` in its place; a source that is a GGUF file becomes a Hugging Face
// directory beside the target first, which is removed again whatever happens. source_name, when empty,
// becomes the source's own. Fails: as require_replaceable, import_gguf and `make`.
using MakeConversion = std::function<ConvertResult(const ConvertRequest&, ThreadPool&)>;
ConvertResult convert_any(const ConvertRequest& request, ThreadPool& pool,
                          const MakeConversion& make = convert);

// The documents of `qx convert --json`. seconds: of the whole command.
Json convert_json(const ConvertResult& result, const ConvertRequest& request, double seconds);
Json dry_run_json(const ConvertPlan& plan, const ConvertRequest& request);

}  // namespace qx
