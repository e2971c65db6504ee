// SPDX-License-Identifier: Apache-2.0
#include "arch/quant_config.h"

#include <string>

#include "base/error.h"

namespace qx {
namespace {

std::optional<int> optional_int(const Json& entry, std::string_view key, const std::string& place) {
  const auto found = entry.find(key);
  if (found == entry.end() || found->is_null()) return std::nullopt;
  const std::int64_t value = json_int(entry, key, place);
  if (value < 1 || value > 65536) {
    fail(place, "key '{}': got {}, expected a small positive number", key, value);
  }
  return static_cast<int>(value);
}

QuantEntry parse_entry(const Json& entry, const std::string& place) {
  QuantEntry out;
  out.bits = optional_int(entry, "bits", place);
  out.group_size = optional_int(entry, "group_size", place);
  out.mode = json_string_or(entry, "mode", "affine", place);
  if (out.mode != "affine" && out.mode != "mxfp4" && out.mode != "nvfp4" && out.mode != "mxfp8") {
    fail(place, "key 'mode': got '{}', expected affine, mxfp4, nvfp4 or mxfp8", out.mode);
  }
  return out;
}

bool is_global_key(std::string_view key) {
  return key == "bits" || key == "group_size" || key == "mode";
}

bool is_module_path(std::string_view key) {
  return key.starts_with("model.") || key == "lm_head" || key.starts_with("lm_head.");
}

// A method of another program would be read as affine codes and give noise, so it is refused.
void refuse_other_method(const Json& object, std::string_view origin, std::string_view key) {
  const auto found = object.find("quant_method");
  if (found == object.end() || found->is_null()) return;
  const std::string method = found->is_string() ? found->get<std::string>() : found->dump();
  fail(origin,
       "key '{}': got weights quantized with '{}', expected an MLX directory or float weights; "
       "start from the unquantized checkpoint",
       key, method.substr(0, 80));
}

}  // namespace

std::optional<QuantConfig> parse_quant_config(const Json& config, std::string_view origin) {
  for (const std::string_view key : {"quantization", "quantization_config"}) {
    const auto found = config.find(key);
    if (found == config.end() || found->is_null()) continue;
    const std::string place = fmt::format("{}: {}", origin, key);
    if (!found->is_object()) fail(place, "got {}, expected an object", found->type_name());
    refuse_other_method(*found, origin, key);
    QuantConfig out;
    out.global = parse_entry(*found, place);
    for (const auto& item : found->items()) {
      const std::string& module = item.key();
      if (is_global_key(module)) continue;
      const std::string where = place + "." + module;
      if (item.value().is_object()) {
        out.modules[module] = parse_entry(item.value(), where);
      } else if (item.value().is_boolean()) {
        out.modules[module] = out.global;
        out.modules[module].is_float = !item.value().get<bool>();
      } else if (is_module_path(module)) {
        fail(where, "got {}, expected an object, true or false", item.value().type_name());
      }
    }
    return out;
  }
  return std::nullopt;
}

}  // namespace qx
