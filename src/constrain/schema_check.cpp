// SPDX-License-Identifier: Apache-2.0
#include "constrain/schema_check.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "constrain/pattern.h"

namespace qx {
namespace {

bool is_whole(const Json& number) {
  if (number.is_number_integer()) return true;
  const double value = number.get<double>();
  return std::floor(value) == value;
}

bool has_type(const Json& value, const Json& types) {
  const std::string name = value.type_name();  // nlohmann's names are JSON Schema's
  return std::any_of(types.begin(), types.end(), [&](const Json& type) {
    return type == name || (type == "integer" && value.is_number() && is_whole(value));
  });
}

// `limit` is null where the schema has none.
bool at_least(const Json& limit, std::size_t count) {
  return limit.is_null() || static_cast<std::int64_t>(count) >= limit.get<std::int64_t>();
}
bool at_most(const Json& limit, std::size_t count) {
  return limit.is_null() || static_cast<std::int64_t>(count) <= limit.get<std::int64_t>();
}

bool number_fits(const Json& value, const Json& flat) {
  const auto limit = [&](const char* key) -> const Json& { return json_member(flat, key); };
  if (const Json& v = limit("minimum"); !v.is_null() && value < v) return false;
  if (const Json& v = limit("maximum"); !v.is_null() && value > v) return false;
  if (const Json& v = limit("exclusiveMinimum"); !v.is_null() && value <= v) return false;
  if (const Json& v = limit("exclusiveMaximum"); !v.is_null() && value >= v) return false;
  const Json& multiple = limit("multipleOf");
  if (multiple.is_null()) return true;
  if (value.is_number_integer() && multiple.is_number_integer()) {
    return value.get<std::int64_t>() % multiple.get<std::int64_t>() == 0;
  }
  const double quotient = value.get<double>() / multiple.get<double>();
  return std::floor(quotient) == quotient;
}

bool string_fits(const std::string& value, const Json& flat, const std::string& place) {
  const auto length =
      static_cast<std::size_t>(std::count_if(value.begin(), value.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
      }));
  if (!at_least(json_member(flat, "minLength"), length)) return false;
  if (!at_most(json_member(flat, "maxLength"), length)) return false;
  for (const Json& pattern : json_member(flat, "patterns")) {
    if (!strings_matching(pattern.get<std::string>(), place).accepts(plain_spelling(value))) {
      return false;
    }
  }
  return true;
}

bool array_fits(const Json& value, const Json& flat, SchemaForms& forms, const std::string& path) {
  if (!at_least(json_member(flat, "minItems"), value.size())) return false;
  if (!at_most(json_member(flat, "maxItems"), value.size())) return false;
  const Json& first = json_member(flat, "prefixItems");
  const Json& rest = json_member(flat, "items");
  for (std::size_t i = 0; i < value.size(); ++i) {
    const Json& schema = i < first.size() ? first[i] : rest;
    if (!schema.is_null() && !satisfies(value[i], schema, forms, path)) return false;
  }
  return true;
}

bool object_fits(const Json& value, const Json& flat, SchemaForms& forms, const std::string& path) {
  if (!at_least(json_member(flat, "minProperties"), value.size())) return false;
  if (!at_most(json_member(flat, "maxProperties"), value.size())) return false;
  for (const Json& name : json_member(flat, "required")) {
    if (!value.contains(name.get<std::string>())) return false;
  }
  const Json& named = json_member(flat, "properties");
  const Json& rest = json_member(flat, "additionalProperties");
  for (const auto& [name, member] : value.items()) {
    const auto own = named.is_object() ? named.find(name) : named.end();
    const Json& schema = named.is_object() && own != named.end() ? *own : rest;
    if (!schema.is_null() && !satisfies(member, schema, forms, path)) return false;
  }
  return true;
}

}  // namespace

bool satisfies_flat(const Json& value, const Json& flat, SchemaForms& forms,
                    const std::string& path) {
  if (flat.is_boolean()) return flat.get<bool>();
  if (const Json& types = json_member(flat, "type"); types.is_array() && !has_type(value, types)) {
    return false;
  }
  if (const Json& values = json_member(flat, "enum"); values.is_array()) {
    if (std::find(values.begin(), values.end(), value) == values.end()) return false;
  }
  for (const Json& choices : json_member(flat, "anyOfs")) {
    if (std::none_of(choices.begin(), choices.end(),
                     [&](const Json& schema) { return satisfies(value, schema, forms, path); })) {
      return false;
    }
  }
  for (const Json& choices : json_member(flat, "oneOfs")) {
    if (std::count_if(choices.begin(), choices.end(), [&](const Json& schema) {
          return satisfies(value, schema, forms, path);
        }) != 1) {
      return false;
    }
  }
  if (value.is_number()) return number_fits(value, flat);
  if (value.is_string()) return string_fits(value.get<std::string>(), flat, forms.place(path));
  if (value.is_array()) return array_fits(value, flat, forms, path);
  if (value.is_object()) return object_fits(value, flat, forms, path);
  return true;
}

bool satisfies(const Json& value, const Json& schema, SchemaForms& forms, const std::string& path) {
  const SchemaForms::Level level(forms, path);
  return satisfies_flat(value, forms.flat(schema, path), forms, path);
}

bool text_satisfies(std::string_view text, const Json& schema) {
  Json value;
  try {
    value = parse_json(text, "text");
  } catch (const Error&) {
    return false;
  }
  SchemaForms forms(schema, "schema");
  return satisfies(value, schema, forms, "#");
}

}  // namespace qx
