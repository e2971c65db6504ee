// SPDX-License-Identifier: Apache-2.0
#include "fit/calibration_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <utility>

#include "base/error.h"
#include "base/hash.h"

namespace qx {
namespace {

constexpr std::string_view kMoment = ".moment", kMeanSquare = ".mean_square";
constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24;

std::string layer_input(std::int64_t layer, std::string_view kind) {
  return fmt::format("layers.{}.{}", layer, kind);
}

std::int64_t vector_length(const TensorView& t, DType dtype, const std::string& place) {
  if (t.dtype != dtype || t.shape.size() != 1 || t.shape[0] < 1) {
    fail(place, "got {} {}, expected {} of one dimension", dtype_name(t.dtype), shape_text(t.shape),
         dtype_name(dtype));
  }
  return t.shape[0];
}

void check_input(const std::string& name, ParsedCalibration::Input& input,
                 std::string_view origin) {
  const auto place = [&](std::string_view part) {
    return fmt::format("{}: tensor '{}{}'", origin, name, part);
  };
  if (input.moment.name.empty()) fail(place(kMoment), "is missing");
  if (input.mean_square.name.empty()) fail(place(kMeanSquare), "is missing");
  input.width = vector_length(input.mean_square, DType::kF32, place(kMeanSquare));
  const std::int64_t length = vector_length(input.moment, DType::kF32, place(kMoment));
  if (input.width > kMaxWidth || length != triangle_size(input.width)) {
    fail(place(kMoment), "got {} values for {} columns, expected {}", length, input.width,
         input.width > kMaxWidth ? "fewer columns" : std::to_string(triangle_size(input.width)));
  }
}

std::vector<float> load_all(const TensorView& view) {
  std::vector<float> values(static_cast<std::size_t>(*element_count(view.shape)));
  load_floats(view.dtype, view.data.data(), 0, values);
  return values;
}

}  // namespace

std::vector<LinearInputShape> linear_inputs(const ModelConfig& c) {
  std::vector<LinearInputShape> out;
  for (int i = 0; i < c.num_hidden_layers; ++i) {
    out.push_back({layer_input(i, "qkv"), c.hidden_size});
    out.push_back({layer_input(i, "o"), c.num_attention_heads * c.head_dim});
    out.push_back({layer_input(i, "gate_up"), c.hidden_size});
    out.push_back({layer_input(i, "down"), c.intermediate_size});
  }
  out.push_back({"final", c.hidden_size});
  return out;
}

std::string linear_input_of(Role role, std::int64_t layer, bool tied) {
  switch (role) {
    case Role::kAttentionQ:
    case Role::kAttentionK:
    case Role::kAttentionV:
      return layer_input(layer, "qkv");
    case Role::kAttentionO:
      return layer_input(layer, "o");
    case Role::kMlpGate:
    case Role::kMlpUp:
      return layer_input(layer, "gate_up");
    case Role::kMlpDown:
      return layer_input(layer, "down");
    case Role::kHead:
      return "final";
    case Role::kEmbedding:
      return tied ? "final" : "";
    default:
      return "";
  }
}

std::string linear_input_of(const CatalogTensor& tensor, bool tied) {
  return linear_input_of(tensor.role, tensor.layer, tied);
}

std::vector<SafetensorsWriter::Entry> calibration_entries(const ModelConfig& config,
                                                          const CalibrationSizes& sizes) {
  std::vector<SafetensorsWriter::Entry> out;
  for (const LinearInputShape& input : linear_inputs(config)) {
    out.push_back({moment_name(input.name), DType::kF32, {triangle_size(input.width)}});
    out.push_back({mean_square_name(input.name), DType::kF32, {input.width}});
  }
  out.push_back({kTokenCounts, DType::kU32, {config.vocab_size}});
  out.push_back({kWindowTokens, DType::kU32, {sizes.windows, sizes.ctx}});
  if (sizes.ngrams > 0) out.push_back({kNgrams, DType::kU64, {sizes.ngrams}});
  return out;
}

ParsedCalibration parse_calibration(const SafetensorsHeader& header, std::string_view origin) {
  const auto format = header.metadata.find("format");
  if (format == header.metadata.end() || format->second != kCalibrationFormat) {
    fail(origin, "got a file of format '{}', expected '{}', as qx calibrate writes it",
         format == header.metadata.end() ? "" : format->second, kCalibrationFormat);
  }
  ParsedCalibration out;
  const auto info = header.metadata.find("info");
  if (info == header.metadata.end()) fail(origin, "metadata 'info' is missing");
  out.info = parse_json(info->second, fmt::format("{}: metadata 'info'", origin));
  if (!out.info.is_object()) fail(origin, "metadata 'info' is no JSON object");
  out.tokens = json_int(out.info, "tokens", origin);
  if (out.tokens < 1) fail(origin, "got {} calibration tokens, expected at least 1", out.tokens);
  for (const TensorView& t : header.tensors) {
    const std::string_view name = t.name;
    if (name == kTokenCounts) {
      out.token_counts = t;
    } else if (name == kWindowTokens) {
      if (t.dtype != DType::kU32 || t.shape.size() != 2 || t.shape[0] < 1 || t.shape[1] < 1) {
        fail(fmt::format("{}: tensor '{}'", origin, name),
             "got {} {}, expected U32 of two dimensions", dtype_name(t.dtype), shape_text(t.shape));
      }
      out.window_tokens = t;
    } else if (name == kNgrams) {
      out.ngrams = t;
    } else if (name.ends_with(kMoment)) {
      out.inputs[t.name.substr(0, name.size() - kMoment.size())].moment = t;
    } else if (name.ends_with(kMeanSquare)) {
      out.inputs[t.name.substr(0, name.size() - kMeanSquare.size())].mean_square = t;
    } else {
      fail(fmt::format("{}: tensor '{}'", origin, name), "is unknown in a calibration");
    }
  }
  if (out.token_counts.name.empty()) fail(origin, "tensor '{}' is missing", kTokenCounts);
  vector_length(out.token_counts, DType::kU32,
                fmt::format("{}: tensor '{}'", origin, kTokenCounts));
  if (!out.ngrams.name.empty()) {
    const std::string place = fmt::format("{}: tensor '{}'", origin, kNgrams);
    if (vector_length(out.ngrams, DType::kU64, place) >
        static_cast<std::int64_t>(NgramSketch::kMost)) {
      fail(place, "got {} hashes, expected at most {}", out.ngrams.shape[0], NgramSketch::kMost);
    }
  }
  for (auto& [name, input] : out.inputs) check_input(name, input, origin);
  return out;
}

std::map<std::string, std::string> weight_files(const std::map<std::string, std::string>& files) {
  std::map<std::string, std::string> out;
  for (const auto& [name, hash] : files) {
    if (name.ends_with(".safetensors")) out.emplace(name, hash);
  }
  return out;
}

Calibration::Calibration(const std::filesystem::path& file)
    : path_(file), file_(file), sha256_(sha256_file(file)) {
  SafetensorsHeader header;
  header.tensors = file_.tensors();
  header.metadata = file_.metadata();
  parsed_ = parse_calibration(header, file.string());
}

void Calibration::require_model(const ModelConfig& config,
                                const std::filesystem::path& model) const {
  const std::vector<LinearInputShape> expected = linear_inputs(config);
  for (const LinearInputShape& input : expected) {
    const auto found = parsed_.inputs.find(input.name);
    const std::int64_t width = found == parsed_.inputs.end() ? 0 : found->second.width;
    if (width != input.width) {
      fail(path_.string(),
           "got {} columns for input '{}', expected the {} of {}; it is the "
           "calibration of another model",
           width, input.name, input.width, model.string());
    }
  }
  if (parsed_.inputs.size() != expected.size() ||
      parsed_.token_counts.shape[0] != config.vocab_size) {
    fail(path_.string(),
         "got {} inputs and {} tokens, expected the {} and {} of {}; it is the "
         "calibration of another model",
         parsed_.inputs.size(), parsed_.token_counts.shape[0], expected.size(), config.vocab_size,
         model.string());
  }
}

void Calibration::require_weights(const std::map<std::string, std::string>& files,
                                  const std::filesystem::path& model) const {
  const Json& recorded = json_member(json_member(parsed_.info, "model"), "files");
  for (const auto& [name, hash] : files) {
    const Json& value = json_member(recorded, name);
    if (value.is_string() && value.get<std::string>() == hash) continue;
    fail(path_.string(),
         "was measured on other weights than {}/{} (SHA-256 {}); run qx calibrate on this model",
         model.string(), name, hash.substr(0, 12));
  }
}

std::vector<float> Calibration::mean_square(const std::string& input) const {
  std::vector<float> values = load_all(parsed_.inputs.at(input).mean_square);
  for (const float v : values) {
    if (!(v >= 0) || !std::isfinite(v)) {
      fail(fmt::format("{}: tensor '{}'", path_.string(), mean_square_name(input)),
           "got {}, expected mean squares: finite and not negative", v);
    }
  }
  return values;
}

NgramSketch Calibration::ngrams() const {
  const TensorView& view = parsed_.ngrams;
  if (view.name.empty()) return {};
  std::vector<std::uint64_t> hashes(static_cast<std::size_t>(view.shape[0]));
  std::memcpy(hashes.data(), view.data.data(), hashes.size() * sizeof(std::uint64_t));
  if (std::adjacent_find(hashes.begin(), hashes.end(), std::greater_equal<>()) != hashes.end()) {
    fail(fmt::format("{}: tensor '{}'", path_.string(), kNgrams), "got hashes that do not rise");
  }
  const Json& complete = json_member(json_member(parsed_.info, "ngrams"), "complete");
  return {std::move(hashes), complete.is_boolean() && complete.get<bool>()};
}

std::vector<float> Calibration::moment(const std::string& input) const {
  std::vector<float> values = load_all(parsed_.inputs.at(input).moment);
  for (const float v : values) {
    if (!std::isfinite(v)) {
      fail(fmt::format("{}: tensor '{}'", path_.string(), moment_name(input)),
           "got {}, expected finite values", v);
    }
  }
  return values;
}

std::vector<std::vector<std::int32_t>> Calibration::windows() const {
  const TensorView& t = parsed_.window_tokens;
  const std::string place = fmt::format("{}: tensor '{}'", path_.string(), kWindowTokens);
  if (t.name.empty()) {
    fail(place, "is missing: an earlier version wrote this file; run qx calibrate again");
  }
  const auto vocab = static_cast<std::uint32_t>(parsed_.token_counts.shape[0]);
  std::vector<std::vector<std::int32_t>> out(static_cast<std::size_t>(t.shape[0]));
  const std::byte* from = t.data.data();
  for (auto& window : out) {
    window.resize(static_cast<std::size_t>(t.shape[1]));
    for (std::int32_t& id : window) {
      std::uint32_t value = 0;
      std::memcpy(&value, from, sizeof value);
      from += sizeof value;
      if (value >= vocab) fail(place, "got token id {}, expected below {}", value, vocab);
      id = static_cast<std::int32_t>(value);
    }
  }
  return out;
}

}  // namespace qx
