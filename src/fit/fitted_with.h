// What a model directory's record says that its codes were fitted with.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

namespace qx {

struct FittedWith {
  std::string sha256;  // of the calibration file; empty: nothing was fitted, or it is not known
  std::string text;    // the text's file name; empty: the model's own samples, or unknown
};

// From qx_plan.json; a record that is missing or broken says nothing.
FittedWith fitted_with(const std::filesystem::path& directory);

}  // namespace qx
