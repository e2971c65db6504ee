// SPDX-License-Identifier: Apache-2.0
#include "fit/fitted_with.h"

#include "base/error.h"
#include "io/json.h"

namespace qx {
namespace {

// A distilled directory names a calibration itself, or the fit that it started from does.
constexpr int kStarts = 16;

}  // namespace

FittedWith fitted_with(const std::filesystem::path& directory) {
  FittedWith out;
  std::error_code error;
  const std::filesystem::path record = directory / "qx_plan.json";
  if (!std::filesystem::is_regular_file(record, error)) return out;
  try {
    const Json json = read_json_file(record);
    const Json* fit = &json_member(json, "fit");
    for (int i = 0; i < kStarts && json_member(*fit, "calibration").is_null(); ++i) {
      fit = &json_member(*fit, "start");
    }
    const Json& calibration = json_member(*fit, "calibration");
    const Json &hash = json_member(calibration, "sha256"),
               &file = json_member(json_member(calibration, "text"), "file");
    if (hash.is_string()) out.sha256 = hash.get<std::string>();
    if (file.is_string()) out.text = file.get<std::string>();
  } catch (const Error&) {
    return {};
  }
  return out;
}

}  // namespace qx
