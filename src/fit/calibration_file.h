// What qx calibrate measured of the inputs of a model's linear layers, in one safetensors file
// (docs/fitting.md has the layout): per distinct input the mean of x x^T over all calibration
// tokens and its diagonal, and how often each token occurred.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "arch/catalog.h"
#include "arch/model_config.h"
#include "fit/ngram_sketch.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace qx {

// An input that one or several matrices multiply: "layers.3.qkv", ".o", ".gate_up", ".down",
// "final".
struct LinearInputShape {
  std::string name;
  std::int64_t width = 0;
};
// In the order of a forward pass.
std::vector<LinearInputShape> linear_inputs(const ModelConfig& config);
// The input of a matrix of the catalog. A tied embedding counts as the head. Empty: it multiplies
// nothing (an embedding that is not tied).
std::string linear_input_of(Role role, std::int64_t layer, bool tied);
std::string linear_input_of(const CatalogTensor& tensor, bool tied);

// Values of the lower triangle of a symmetric matrix, row by row: [i, j], j <= i, at i (i + 1) / 2
// + j.
constexpr std::int64_t triangle_size(std::int64_t width) {
  return width * (width + 1) / 2;
}

// How much a calibration read, and how many hashes of n-grams it holds (0: none).
struct CalibrationSizes {
  std::int64_t windows = 0, ctx = 0, ngrams = 0;
};
// The arrays of a file, in its order, for a model.
std::vector<SafetensorsWriter::Entry> calibration_entries(const ModelConfig& config,
                                                          const CalibrationSizes& sizes);
inline std::string moment_name(const std::string& input) {
  return input + ".moment";
}
inline std::string mean_square_name(const std::string& input) {
  return input + ".mean_square";
}
constexpr const char* kTokenCounts = "token_counts";
constexpr const char* kWindowTokens = "window_tokens";
constexpr const char* kNgrams = "ngram_hashes";  // of the text's windows; U64, rising
constexpr const char* kCalibrationFormat = "qx-calibration-1";

struct ParsedCalibration {
  struct Input {
    std::int64_t width = 0;
    TensorView moment;       // F32 [triangle_size(width)]
    TensorView mean_square;  // F32 [width]
  };
  Json info;  // {"tokens","windows","ctx","text":{..},"model":{..},..}
  std::int64_t tokens = 0;
  std::map<std::string, Input> inputs;
  TensorView token_counts;   // U32 [vocab_size]
  TensorView window_tokens;  // U32 [windows, ctx]; older files lack it, and its name is empty
  TensorView ngrams;         // U64; no name: there are none
};
// Checks names, types, shapes and info; not the values. Fails: Error at `origin`.
ParsedCalibration parse_calibration(const SafetensorsHeader& header, std::string_view origin);

// The weight files among a model's files: name to SHA-256.
std::map<std::string, std::string> weight_files(const std::map<std::string, std::string>& files);

class Calibration {
 public:
  // Fails: Error, as parse_calibration, or when the file cannot be read.
  explicit Calibration(const std::filesystem::path& file);

  // Fails: Error unless the file has exactly this model's inputs.
  void require_model(const ModelConfig& config, const std::filesystem::path& model) const;
  // files: name and SHA-256 of the model's weight files. Fails: Error unless they are those that
  // the calibration was measured on.
  void require_weights(const std::map<std::string, std::string>& files,
                       const std::filesystem::path& model) const;

  const Json& info() const { return parsed_.info; }
  const std::string& sha256() const { return sha256_; }  // of the file
  // Mean square of each column. Fails: Error for a value that is NaN, infinite or negative.
  std::vector<float> mean_square(const std::string& input) const;
  // What the text held; nothing in a file without it. Fails: Error when hashes do not rise.
  NgramSketch ngrams() const;
  // The lower triangle. Fails: Error for NaN or infinity.
  std::vector<float> moment(const std::string& input) const;
  // The tokens that were read, window by window. Fails: Error for a file that does not hold them,
  // or an id beyond the vocabulary.
  std::vector<std::vector<std::int32_t>> windows() const;

 private:
  std::filesystem::path path_;
  SafetensorsFile file_;
  ParsedCalibration parsed_;
  std::string sha256_;
};

}  // namespace qx
