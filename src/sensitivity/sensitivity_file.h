// What qx sensitivity found: for every quantizable tensor of a model and every code that it may get,
// the stored bytes and the damage, as KL divergence to the model itself. One JSON file, whole or
// absent; docs/sensitivity.md says how the numbers are made.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "quant/affine.h"
#include "tensor/dtype.h"

namespace qx {

constexpr const char* kSensitivityFormat = "qx-sensitivity-1";

struct SensitivityOption {
  AffineSpec spec;
  std::int64_t bytes = 0;  // stored: codes, scales and biases, as PlanRow::bytes counts them
  double cost = 0;         // >= 0: KL(model || model with this tensor so coded), nats a token
};

struct SensitivityTensor {
  std::string name;     // as in the catalog and in plans: "model.layers.3.mlp.down_proj.weight"
  Shape shape;          // logical, [out, in]
  std::string role;     // role_name(): "embedding", "head", "q", .., "down"
  double gradient = 0;  // mean over tokens and outputs of g^2 (docs/sensitivity.md); 0: none taken
  bool measured = false;  // costs come from forward passes (source "measured"), not from a gradient
  std::vector<SensitivityOption> options;  // at least one, each spec once
};

// One tensor coded in truth, everything else as it was: the model's cost beside the measured KL.
struct SensitivityPair {
  std::string name;
  AffineSpec spec;
  double model = 0, direct = 0;  // nats a token
};

struct SensitivityValidation {
  std::vector<SensitivityPair> pairs;
  std::optional<double> log_pearson;   // correlation of ln model and ln direct; needs three pairs
  std::optional<double> median_ratio;  // of direct / model
};

struct Sensitivity {
  std::string model_path;                      // as it was given
  std::map<std::string, std::string> weights;  // file name to SHA-256
  std::string plan_hash;                       // of the source's stored tensors
  std::string calibration_sha256;              // of the calibration file
  Json calibration_text;                       // what the calibration says of its text
  std::string fit;                             // "minmax", "mse" or "gptq": whose codes were judged
  double damping = 0;                          // of gptq
  DType dtype = DType::kBF16;                  // of scales and biases
  std::int64_t windows = 0, ctx = 0;           // of the backward passes
  std::uint64_t seed = 0;
  std::string precision;                   // "reference"
  std::vector<SensitivityTensor> tensors;  // in catalog order
  std::optional<SensitivityValidation> validation;
  std::string created, version;
};

// Fails: Error at `origin` naming the tensor and key: an unknown format, a code that does not fit
// its tensor, bytes that are not those of the code, a cost that is negative or not finite, a name
// or a code that occurs twice.
Sensitivity parse_sensitivity(const Json& json, std::string_view origin);
Sensitivity read_sensitivity(const std::filesystem::path& file);

Json sensitivity_json(const Sensitivity& sensitivity);
// Fails: Error (exists and not force, not writable).
void write_sensitivity(const std::filesystem::path& file, const Sensitivity& sensitivity,
                       bool force);

// Fails: Error unless the file was made from weights with these hashes (name to SHA-256; files that
// are no safetensors are passed over).
void require_same_weights(const Sensitivity& sensitivity,
                          const std::map<std::string, std::string>& files, std::string_view origin,
                          const std::filesystem::path& model);

}  // namespace qx
