// What a calibration had measured when it was stopped: finished inputs in the unfinished file beside
// the target, sums of the others in a state file, both whole at the end of a window.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "calibrate/second_moments.h"
#include "io/json.h"
#include "text/tokenizer.h"

namespace qx {

struct CalibrationState {
  Json identity;                       // what decides the file's bytes
  std::int64_t attempt = 0;            // whose unfinished file has the finished inputs
  std::vector<std::int64_t> passes;    // inputs of each pass
  std::size_t pass = 0, windows = 0;   // finished passes; finished windows of the current one
  std::vector<std::string> checksums;  // SHA-256 of the arrays of finished inputs, in order
  std::vector<std::vector<TokenId>> samples;  // the model's own text, if it is that
  std::size_t weighed = 0;                    // windows whose tokens' weights were measured
  std::vector<float> weights;                 // TokenWeights::values(), if any
};

// Line 1: the state as JSON; then the weights as floats and the sums (null: none yet) as doubles; then
// the SHA-256 of it all in hexadecimal. Replaced at once or not at all.
void write_calibration_state(const std::filesystem::path& file, const CalibrationState& state,
                             const SecondMoments* sums);

class StateFile {
 public:
  // Nothing when there is no whole state of the same identity; `difference` then says why.
  static std::optional<StateFile> read(const std::filesystem::path& file, const Json& identity,
                                       std::string& difference);
  const CalibrationState& state() const { return state_; }
  // Fails: Error when the sums are not those of these inputs.
  void load_sums(SecondMoments& sums) const;

 private:
  StateFile(MappedFile file, CalibrationState state, std::string_view sums)
      : file_(std::move(file)), state_(std::move(state)), sums_(sums) {}
  MappedFile file_;
  CalibrationState state_;
  std::string_view sums_;
};

}  // namespace qx
