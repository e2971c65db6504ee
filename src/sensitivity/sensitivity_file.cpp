// SPDX-License-Identifier: Apache-2.0
#include "sensitivity/sensitivity_file.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "arch/catalog.h"
#include "base/error.h"
#include "fit/calibration_file.h"
#include "io/staged.h"

namespace qx {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{64} << 20;
constexpr std::int64_t kMaxDimension = std::int64_t{1} << 31;

const Json& member_of(const Json& object, const char* key, std::string_view origin) {
  const Json& value = json_member(object, key);
  if (value.is_null()) fail(origin, "key '{}' is missing", key);
  return value;
}

const Json& object_of(const Json& object, const char* key, std::string_view origin) {
  const Json& value = member_of(object, key, origin);
  if (!value.is_object()) {
    fail(origin, "key '{}': got {}, expected object", key, value.type_name());
  }
  return value;
}

const Json& list_of(const Json& object, const char* key, std::string_view origin) {
  const Json& value = member_of(object, key, origin);
  if (!value.is_array()) fail(origin, "key '{}': got {}, expected list", key, value.type_name());
  return value;
}

double not_negative(const Json& object, const char* key, std::string_view origin) {
  const double value = json_number(object, key, origin);
  if (!(value >= 0) || !std::isfinite(value)) {
    fail(origin, "key '{}': got {}, expected a finite number, 0 or above", key, value);
  }
  return value;
}

std::int64_t positive(const Json& object, const char* key, std::string_view origin) {
  const std::int64_t value = json_int(object, key, origin);
  if (value < 1) fail(origin, "key '{}': got {}, expected 1 or more", key, value);
  return value;
}

std::string one_of(const Json& object, const char* key,
                   std::initializer_list<std::string_view> values, std::string_view origin) {
  std::string value = json_string(object, key, origin);
  if (std::find(values.begin(), values.end(), value) == values.end()) {
    fail(origin, "key '{}': got '{}', expected {}", key, value, fmt::join(values, ", "));
  }
  return value;
}

AffineSpec parse_spec(const Json& object, std::string_view origin) {
  const std::int64_t bits = json_int(object, "bits", origin);
  const std::int64_t group = json_int(object, "group_size", origin);
  const bool small = bits >= 0 && bits <= 8 && group >= 0 && group <= 128;
  const AffineSpec spec{small ? static_cast<int>(bits) : 0, small ? static_cast<int>(group) : 0};
  if (!is_valid(spec)) {
    fail(origin, "got {} bits in groups of {}, expected 2 3 4 5 6 8 in groups of 32 64 128", bits,
         group);
  }
  return spec;
}

Shape parse_matrix_shape(const Json& object, std::string_view origin) {
  const Json& list = list_of(object, "shape", origin);
  Shape shape;
  for (const Json& value : list) {
    if (!value.is_number_integer())
      fail(origin, "key 'shape': got {}, expected numbers", list.dump());
    shape.push_back(value.get<std::int64_t>());
  }
  const bool fits = std::all_of(shape.begin(), shape.end(),
                                [](std::int64_t n) { return n >= 1 && n <= kMaxDimension; });
  if (shape.size() != 2 || !fits) {
    fail(origin, "key 'shape': got {}, expected two dimensions of 1 to {}", list.dump(),
         kMaxDimension);
  }
  return shape;
}

SensitivityOption parse_option(const Json& object, const SensitivityTensor& tensor, DType dtype,
                               std::string_view origin) {
  if (!object.is_object()) fail(origin, "got {}, expected object", object.type_name());
  SensitivityOption out;
  out.spec = parse_spec(object, origin);
  out.bytes = positive(object, "bytes", origin);
  out.cost = not_negative(object, "cost", origin);
  const MatrixShape shape{tensor.shape[0], tensor.shape[1]};
  if (shape.cols % out.spec.group != 0) {
    fail(origin, "got groups of {} for {} columns, expected a divisor", out.spec.group, shape.cols);
  }
  // At most 2^31 rows of 2^31 columns of 8 bits and their scales: within 63 bits.
  if (const std::int64_t bytes = affine_bytes(shape, out.spec, dtype); bytes != out.bytes) {
    fail(origin, "key 'bytes': got {}, expected {} ({} of {} bits in groups of {}, scales {})",
         out.bytes, bytes, shape_text(tensor.shape), out.spec.bits, out.spec.group,
         float_dtype_config_name(dtype));
  }
  return out;
}

SensitivityTensor parse_tensor(const Json& object, DType dtype, const std::string& place) {
  if (!object.is_object()) fail(place, "got {}, expected object", object.type_name());
  SensitivityTensor out;
  out.name = json_string(object, "name", place);
  const std::string origin = fmt::format("{} ('{}')", place, out.name);
  out.shape = parse_matrix_shape(object, origin);
  out.role = one_of(
      object, "role",
      {"embedding", "head", "q", "k", "v", "o", "gate", "up", "down", "router", "expert"}, origin);
  out.gradient = not_negative(object, "gradient", origin);
  out.measured = one_of(object, "source", {"gradient", "measured"}, origin) == "measured";
  const Json& options = list_of(object, "options", origin);
  if (options.empty()) fail(origin, "key 'options': got an empty list, expected one or more");
  std::set<std::pair<int, int>> seen;
  for (std::size_t i = 0; i < options.size(); ++i) {
    const std::string at = fmt::format("{}: options[{}]", origin, i);
    out.options.push_back(parse_option(options[i], out, dtype, at));
    const AffineSpec spec = out.options.back().spec;
    if (!seen.emplace(spec.bits, spec.group).second) {
      fail(at, "{} bits in groups of {} are there twice", spec.bits, spec.group);
    }
  }
  return out;
}

std::optional<double> parse_optional(const Json& object, const char* key, std::string_view origin) {
  if (json_member(object, key).is_null()) return std::nullopt;
  const double value = json_number(object, key, origin);
  if (!std::isfinite(value)) fail(origin, "key '{}': got {}, expected a finite number", key, value);
  return value;
}

SensitivityValidation parse_validation(const Json& object, const std::set<std::string>& names,
                                       std::string_view origin) {
  const std::string place = fmt::format("{}: validation", origin);
  if (!object.is_object()) fail(place, "got {}, expected object", object.type_name());
  SensitivityValidation out;
  const Json& pairs = list_of(object, "pairs", place);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const std::string at = fmt::format("{}.pairs[{}]", place, i);
    const Json& pair = pairs[i];
    if (!pair.is_object()) fail(at, "got {}, expected object", pair.type_name());
    SensitivityPair p{json_string(pair, "name", at), parse_spec(pair, at),
                      not_negative(pair, "model", at), not_negative(pair, "direct", at)};
    if (!names.contains(p.name)) fail(at, "got tensor '{}', expected one of 'tensors'", p.name);
    out.pairs.push_back(std::move(p));
  }
  out.log_pearson = parse_optional(object, "log_pearson", place);
  out.median_ratio = parse_optional(object, "median_ratio", place);
  return out;
}

Json optional_json(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

void parse_origin(const Json& json, Sensitivity& out, std::string_view origin) {
  const Json& model = object_of(json, "model", origin);
  const std::string model_place = fmt::format("{}: model", origin);
  out.model_path = json_string(model, "path", model_place);
  out.plan_hash = json_string(model, "plan_hash", model_place);
  for (const auto& [file, hash] : object_of(model, "weights", model_place).items()) {
    if (!hash.is_string()) fail(model_place, "weights: got no SHA-256 for '{}'", file);
    out.weights[file] = hash.get<std::string>();
  }
  const Json& calibration = object_of(json, "calibration", origin);
  out.calibration_sha256 =
      json_string(calibration, "sha256", fmt::format("{}: calibration", origin));
  out.calibration_text = json_member(calibration, "text");
  out.fit = one_of(json, "fit", {"minmax", "mse", "gptq"}, origin);
  out.damping = not_negative(json, "damping", origin);
  const std::string dtype = json_string(json, "dtype", origin);
  const std::optional<DType> type = float_dtype_from_config(dtype);
  if (!type) {
    fail(origin, "key 'dtype': got '{}', expected bfloat16, float16 or float32", dtype);
  }
  out.dtype = *type;
  out.windows = positive(json, "windows", origin);
  out.ctx = positive(json, "ctx", origin);
  const std::int64_t seed = json_int(json, "seed", origin);
  if (seed < 0) fail(origin, "key 'seed': got {}, expected 0 or more", seed);
  out.seed = static_cast<std::uint64_t>(seed);
  out.precision = json_string(json, "precision", origin);
  out.created = json_string(json, "created", origin);
  out.version = json_string(json, "version", origin);
}

}  // namespace

Sensitivity parse_sensitivity(const Json& json, std::string_view origin) {
  if (!json.is_object()) fail(origin, "got {}, expected object", json.type_name());
  const std::string format = json_string(json, "format", origin);
  if (format != kSensitivityFormat) {
    fail(origin, "got a file of format '{}', expected '{}', as qx sensitivity writes it", format,
         kSensitivityFormat);
  }
  Sensitivity out;
  parse_origin(json, out, origin);
  const Json& tensors = list_of(json, "tensors", origin);
  if (tensors.empty()) fail(origin, "key 'tensors': got an empty list, expected one or more");
  std::set<std::string> names;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::string at = fmt::format("{}: tensors[{}]", origin, i);
    out.tensors.push_back(parse_tensor(tensors[i], out.dtype, at));
    if (!names.insert(out.tensors.back().name).second) {
      fail(at, "tensor '{}' is there twice", out.tensors.back().name);
    }
  }
  if (const Json& validation = json_member(json, "validation"); !validation.is_null()) {
    out.validation = parse_validation(validation, names, origin);
  }
  return out;
}

Sensitivity read_sensitivity(const std::filesystem::path& file) {
  return parse_sensitivity(read_json_file(file, kMaxFileBytes), file.string());
}

Json sensitivity_json(const Sensitivity& s) {
  Json tensors = Json::array();
  for (const SensitivityTensor& t : s.tensors) {
    Json options = Json::array();
    for (const SensitivityOption& o : t.options) {
      options.push_back({{"bits", o.spec.bits},
                         {"group_size", o.spec.group},
                         {"bytes", o.bytes},
                         {"cost", o.cost}});
    }
    tensors.push_back({{"name", t.name},
                       {"shape", t.shape},
                       {"role", t.role},
                       {"gradient", t.gradient},
                       {"source", t.measured ? "measured" : "gradient"},
                       {"options", std::move(options)}});
  }
  Json validation;
  if (s.validation) {
    Json pairs = Json::array();
    for (const SensitivityPair& p : s.validation->pairs) {
      pairs.push_back({{"name", p.name},
                       {"bits", p.spec.bits},
                       {"group_size", p.spec.group},
                       {"model", p.model},
                       {"direct", p.direct}});
    }
    validation = {{"pairs", std::move(pairs)},
                  {"log_pearson", optional_json(s.validation->log_pearson)},
                  {"median_ratio", optional_json(s.validation->median_ratio)}};
  }
  return {
      {"format", kSensitivityFormat},
      {"model", {{"path", s.model_path}, {"weights", Json(s.weights)}, {"plan_hash", s.plan_hash}}},
      {"calibration", {{"sha256", s.calibration_sha256}, {"text", s.calibration_text}}},
      {"fit", s.fit},
      {"damping", s.damping},
      {"dtype", float_dtype_config_name(s.dtype)},
      {"windows", s.windows},
      {"ctx", s.ctx},
      {"seed", s.seed},
      {"precision", s.precision},
      {"tensors", std::move(tensors)},
      {"validation", std::move(validation)},
      {"created", s.created},
      {"version", s.version}};
}

void write_sensitivity(const std::filesystem::path& file, const Sensitivity& sensitivity,
                       bool force) {
  write_file_atomic(file, dump_json(sensitivity_json(sensitivity), 1, false, false) + "\n", force);
}

void require_same_weights(const Sensitivity& sensitivity,
                          const std::map<std::string, std::string>& files, std::string_view origin,
                          const std::filesystem::path& model) {
  for (const auto& [name, hash] : weight_files(files)) {
    const auto found = sensitivity.weights.find(name);
    if (found != sensitivity.weights.end() && found->second == hash) continue;
    fail(origin, "was made from other weights than {}/{} (SHA-256 {}); run qx sensitivity on it",
         model.string(), name, hash.substr(0, 12));
  }
}

}  // namespace qx
