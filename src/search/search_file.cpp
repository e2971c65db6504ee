// SPDX-License-Identifier: Apache-2.0
#include "search/search_file.h"

#include <cmath>
#include <utility>

#include "base/error.h"

namespace qx {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxPoints = 100'000;

Json optional_number(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? Json(*value) : Json();
}

double number_of(const Json& object, const char* key, std::string_view place) {
  const double value = json_number(object, key, place);
  if (!std::isfinite(value)) fail(place, "key '{}': got {}, expected a finite number", key, value);
  return value;
}

double number_from_zero(const Json& object, const char* key, std::string_view place) {
  const double value = number_of(object, key, place);
  if (value < 0) fail(place, "key '{}': got {}, expected 0 or above", key, value);
  return value;
}

std::optional<double> number_or_null(const Json& object, const char* key, std::string_view place) {
  if (json_member(object, key).is_null()) return std::nullopt;
  return number_of(object, key, place);
}

std::int64_t bytes_of(const Json& object, std::string_view place) {
  const std::int64_t bytes = json_int(object, "bytes", place);
  if (bytes < 1) fail(place, "key 'bytes': got {}, expected 1 or more", bytes);
  return bytes;
}

const Json& points_of(const Json& object, const char* key, std::string_view place) {
  const Json& list = json_member(object, key);
  if (!list.is_array()) fail(place, "key '{}': got {}, expected list", key, list.type_name());
  if (list.size() > kMaxPoints) {
    fail(place, "key '{}': got {} entries, expected at most {}", key, list.size(), kMaxPoints);
  }
  for (const Json& item : list) {
    if (!item.is_object())
      fail(place, "key '{}': got {} in the list, expected objects", key, item.type_name());
  }
  return list;
}

SearchMeasurement parse_measurement(const Json& json, const std::string& place) {
  SearchMeasurement out;
  out.name = json_string(json, "name", place);
  out.kind = json_string(json, "kind", place);
  if (out.kind != "candidate" && out.kind != "curve" && out.kind != "recipe") {
    fail(place, "key 'kind': got '{}', expected candidate, curve or recipe", out.kind);
  }
  out.codes = json_string(json, "codes", place);
  out.plan_hash = json_string(json, "plan_hash", place);
  out.bytes = bytes_of(json, place);
  out.bits_per_weight = number_from_zero(json, "bits_per_weight", place);
  out.predicted = number_or_null(json, "predicted", place);
  out.kl = number_of(json, "kl", place);
  out.kl_stderr = number_or_null(json, "kl_stderr", place);
  const Json& windows = json_member(json, "kl_windows");
  if (!windows.is_array()) fail(place, "key 'kl_windows': expected a list");
  for (const Json& value : windows) {
    if (!value.is_number())
      fail(place, "key 'kl_windows': got {}, expected numbers", value.type_name());
    out.kl_windows.push_back(value.get<double>());
  }
  out.top1 = number_from_zero(json, "top1", place);
  out.perplexity = number_from_zero(json, "perplexity", place);
  out.difference = number_or_null(json, "difference", place);
  out.difference_stderr = number_or_null(json, "difference_stderr", place);
  return out;
}

Json measurement_json(const SearchMeasurement& m) {
  return {{"name", m.name},
          {"kind", m.kind},
          {"codes", m.codes},
          {"plan_hash", m.plan_hash},
          {"bytes", m.bytes},
          {"bits_per_weight", m.bits_per_weight},
          {"predicted", optional_number(m.predicted)},
          {"kl", m.kl},
          {"kl_stderr", optional_number(m.kl_stderr)},
          {"kl_windows", m.kl_windows},
          {"top1", m.top1},
          {"perplexity", m.perplexity},
          {"difference", optional_number(m.difference)},
          {"difference_stderr", optional_number(m.difference_stderr)}};
}

}  // namespace

Json search_json(const SearchRecord& r) {
  Json curve = Json::array(), measured = Json::array();
  for (const SearchCurvePoint& p : r.curve) {
    curve.push_back(
        {{"bytes", p.bytes}, {"bits_per_weight", p.bits_per_weight}, {"predicted", p.predicted}});
  }
  for (const SearchMeasurement& m : r.measured) measured.push_back(measurement_json(m));
  return {{"format", kSearchFormat},
          {"recipe", r.recipe},
          {"model", {{"path", r.model_path}, {"weights", Json(r.weights)}}},
          {"calibration_sha256", r.calibration_sha256},
          {"fit", r.fit},
          {"damping", r.damping},
          {"budget", {{"given", r.budget}, {"bytes", r.budget_bytes}}},
          {"rules", r.rules},
          {"exact", r.exact},
          {"chosen",
           {{"name", r.chosen},
            {"plan_hash", r.plan_hash},
            {"bytes", r.bytes},
            {"bits_per_weight", r.bits_per_weight},
            {"predicted", r.predicted}}},
          {"curve", std::move(curve)},
          {"measured", std::move(measured)},
          {"text", r.text},
          {"created", r.created},
          {"version", r.version}};
}

SearchRecord parse_search(const Json& json, std::string_view origin) {
  if (!json.is_object()) fail(origin, "got {}, expected object", json.type_name());
  const std::string format = json_string(json, "format", origin);
  if (format != kSearchFormat) {
    fail(origin, "got a file of format '{}', expected '{}', as qx search writes it", format,
         kSearchFormat);
  }
  SearchRecord r;
  r.recipe = json_string(json, "recipe", origin);
  const Json& model = json_member(json, "model");
  const std::string model_place = fmt::format("{}: model", origin);
  r.model_path = json_string(model, "path", model_place);
  const Json& weights = json_member(model, "weights");
  if (!weights.is_object()) fail(model_place, "key 'weights': expected object");
  for (const auto& [file, hash] : weights.items()) {
    if (!hash.is_string()) fail(model_place, "weights: got no SHA-256 for '{}'", file);
    r.weights[file] = hash.get<std::string>();
  }
  r.calibration_sha256 = json_string(json, "calibration_sha256", origin);
  r.fit = json_string(json, "fit", origin);
  r.damping = number_from_zero(json, "damping", origin);
  const Json& budget = json_member(json, "budget");
  const std::string budget_place = fmt::format("{}: budget", origin);
  r.budget = json_string(budget, "given", budget_place);
  r.budget_bytes = bytes_of(budget, budget_place);
  r.rules = json_member(json, "rules");
  r.exact = json_bool(json, "exact", origin);
  const Json& chosen = json_member(json, "chosen");
  const std::string chosen_place = fmt::format("{}: chosen", origin);
  r.chosen = json_string(chosen, "name", chosen_place);
  r.plan_hash = json_string(chosen, "plan_hash", chosen_place);
  r.bytes = bytes_of(chosen, chosen_place);
  r.bits_per_weight = number_from_zero(chosen, "bits_per_weight", chosen_place);
  r.predicted = number_from_zero(chosen, "predicted", chosen_place);
  const Json& curve = points_of(json, "curve", origin);
  for (std::size_t i = 0; i < curve.size(); ++i) {
    const std::string at = fmt::format("{}: curve[{}]", origin, i);
    r.curve.push_back({bytes_of(curve[i], at), number_from_zero(curve[i], "bits_per_weight", at),
                       number_from_zero(curve[i], "predicted", at)});
  }
  const Json& measured = points_of(json, "measured", origin);
  for (std::size_t i = 0; i < measured.size(); ++i) {
    r.measured.push_back(
        parse_measurement(measured[i], fmt::format("{}: measured[{}]", origin, i)));
  }
  r.text = json_member(json, "text");
  r.created = json_string(json, "created", origin);
  r.version = json_string(json, "version", origin);
  return r;
}

SearchRecord read_search(const std::filesystem::path& file) {
  return parse_search(read_json_file(file, kMaxBytes), file.string());
}

}  // namespace qx
