// SPDX-License-Identifier: Apache-2.0
#include "arch/shapes.h"

#include "base/error.h"
#include "embedded_shapes.h"

namespace qx {
namespace {

constexpr std::string_view kSuffix = ".json";

}  // namespace

std::string known_shapes() {
  std::string names;
  for (const auto& [file, text] : embedded_shapes()) {
    names += names.empty() ? "" : ", ";
    names += file.substr(0, file.size() - kSuffix.size());
  }
  return names;
}

ModelConfig shape_config(std::string_view name) {
  for (const auto& [file, text] : embedded_shapes()) {
    if (file.substr(0, file.size() - kSuffix.size()) != name) continue;
    const std::string origin = fmt::format("shape {}", name);
    return parse_model_config(parse_json(std::string(text), origin), origin);
  }
  throw UsageError(fmt::format("got shape '{}', expected one of: {}", name, known_shapes()));
}

}  // namespace qx
