// Configs of well-known models that ship with the program (shapes/*.json), for planning and
// measuring without their files.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "arch/model_config.h"

namespace qx {

// The config of a shape ("qwen3-8b"). Fails: UsageError that lists the known ones.
ModelConfig shape_config(std::string_view name);

// "qwen3-0.6b, qwen3-1.7b, ..", smallest of each family first.
std::string known_shapes();

}  // namespace qx
