// Reads the "quantization" map of a config.json. Only of this folder; the types are model_config.h's.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "arch/model_config.h"

namespace qx {

// "quantization", else "quantization_config" without quant_method; nothing when there is neither.
// Fails: Error for another program's format, named by its quant_method, and for wrong types.
std::optional<QuantConfig> parse_quant_config(const Json& config, std::string_view origin);

}  // namespace qx
