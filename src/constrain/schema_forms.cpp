// SPDX-License-Identifier: Apache-2.0
#include "constrain/schema_forms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace qx {
namespace {

constexpr int kMaxReferences = 32;  // from one to the next without a value between
constexpr int kMaxDisjointDepth = 8;
constexpr std::int64_t kMaxWork = 200'000;  // schemas brought to their form, in all

constexpr std::array<std::string_view, 19> kAnnotations = {
    "title",   "description", "default",         "examples",         "example",
    "$schema", "$comment",    "deprecated",      "readOnly",         "writeOnly",
    "$id",     "id",          "contentEncoding", "contentMediaType", "contentSchema",
    "$defs",   "definitions", "nullable",        "discriminator"};
constexpr std::array<std::string_view, 7> kTypes = {"null",   "boolean", "object", "array",
                                                    "string", "number",  "integer"};
// Kept as they are when the value is of the right kind.
constexpr std::array<std::string_view, 6> kCounts = {"minProperties", "maxProperties", "minItems",
                                                     "maxItems",      "minLength",     "maxLength"};
constexpr std::array<std::string_view, 5> kNumbers = {"minimum", "maximum", "exclusiveMinimum",
                                                      "exclusiveMaximum", "multipleOf"};

template <typename List>
bool has(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

bool is_schema(const Json& value) {
  return value.is_object() || value.is_boolean();
}

bool is_true(const Json& schema) {
  return schema.is_boolean() ? schema.get<bool>() : schema.empty();
}

// A schema for what satisfies both; null stands for no schema.
Json conjunction(const Json& a, const Json& b) {
  if (a.is_null() || (is_schema(a) && is_true(a))) return b.is_null() ? a : b;
  if (b.is_null() || (is_schema(b) && is_true(b))) return a;
  if (a.is_object() && a.size() == 1 && a.contains("allOf")) {
    Json out = a;
    out["allOf"].push_back(b);
    return out;
  }
  return {{"allOf", Json::array({a, b})}};
}

bool holds(const Json& list, const Json& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

Json common_types(const Json& a, const Json& b) {
  Json out = Json::array();
  for (const Json& type : a) {
    if (holds(b, type)) {
      out.push_back(type);
    } else if ((type == "integer" && holds(b, "number")) ||
               (type == "number" && holds(b, "integer"))) {
      out.push_back("integer");
    }
  }
  return out;
}

Json concatenated(const Json& a, const Json& b) {
  Json out = a;
  for (const Json& item : b) {
    if (!holds(out, item)) out.push_back(item);
  }
  return out;
}

// Properties of both: where one of them does not name a property, its additionalProperties speaks for it.
void join_properties(const Json& a, const Json& b, Json& out) {
  const Json& names_a = json_member(a, "properties");
  const Json& names_b = json_member(b, "properties");
  const Json& rest_a = json_member(a, "additionalProperties");
  const Json& rest_b = json_member(b, "additionalProperties");
  Json joined = Json::object();
  if (names_a.is_object()) {
    for (const auto& [name, schema] : names_a.items()) {
      const Json& other = json_member(names_b, name);
      joined[name] = conjunction(schema, other.is_null() ? rest_b : other);
    }
  }
  if (names_b.is_object()) {
    for (const auto& [name, schema] : names_b.items()) {
      if (!joined.contains(name)) joined[name] = conjunction(rest_a, schema);
    }
  }
  if (!joined.empty()) out["properties"] = std::move(joined);
  const Json rest = conjunction(rest_a, rest_b);
  if (!rest.is_null()) out["additionalProperties"] = rest;
}

void join_items(const Json& a, const Json& b, Json& out) {
  const Json& first_a = json_member(a, "prefixItems");
  const Json& first_b = json_member(b, "prefixItems");
  const Json& rest_a = json_member(a, "items");
  const Json& rest_b = json_member(b, "items");
  Json joined = Json::array();
  const std::size_t count = std::max(first_a.size(), first_b.size());
  for (std::size_t i = 0; i < count; ++i) {
    const Json item = conjunction(i < first_a.size() ? first_a[i] : rest_a,
                                  i < first_b.size() ? first_b[i] : rest_b);
    joined.push_back(item.is_null() ? Json(true) : item);
  }
  if (!joined.empty()) out["prefixItems"] = std::move(joined);
  const Json rest = conjunction(rest_a, rest_b);
  if (!rest.is_null()) out["items"] = rest;
}

// One member of both forms, that of the properties and items apart.
Json join_member(const std::string& key, const Json& a, const Json& b, const std::string& place) {
  if (key == "type") return common_types(a, b);
  if (key == "enum") {
    Json out = Json::array();
    for (const Json& value : a) {
      if (holds(b, value)) out.push_back(value);
    }
    return out;
  }
  if (key == "required" || key == "patterns") return concatenated(a, b);
  if (key == "anyOfs" || key == "oneOfs") {
    Json out = a;
    out.insert(out.end(), b.begin(), b.end());
    return out;
  }
  if (key == "multipleOf") {
    if (!a.is_number_integer() || !b.is_number_integer() || a > 1'000'000 || b > 1'000'000) {
      fail(place, "multipleOf: got {} and {} at once, expected one or small integers", a.dump(),
           b.dump());
    }
    return std::lcm(a.get<std::int64_t>(), b.get<std::int64_t>());
  }
  if (key == "format") {
    if (a != b) fail(place, "format: got {} and {} at once, expected one", a.dump(), b.dump());
    return a;
  }
  const bool lower = key.starts_with("min") || key == "exclusiveMinimum";
  return (lower ? a > b : a < b) ? a : b;
}

// A keyword with the value of a kind that it cannot have.
[[noreturn]] void wrong_kind(const std::string& place, const std::string& key, const Json& value,
                             std::string_view expected) {
  fail(place, "{}: got {}, expected {}", key, value.dump().substr(0, 60), expected);
}

Json type_names(const Json& value, const std::string& place) {
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& name : list) {
    if (!name.is_string() || !has(kTypes, name.get<std::string>())) {
      wrong_kind(place, "type", name, "null, boolean, object, array, string, number or integer");
    }
  }
  if (list.empty()) wrong_kind(place, "type", value, "at least one type");
  return list;
}

Json count(const std::string& key, const Json& value, const std::string& place) {
  double number = value.is_number() ? value.get<double>() : -1;
  if (number < 0 || number != std::floor(number)) {
    wrong_kind(place, key, value, "a number of things");
  }
  number = std::min(number, 0x1p40);  // larger ones mean the same
  return static_cast<std::int64_t>(number);
}

bool all_schemas(const Json& list) {
  return std::all_of(list.begin(), list.end(), [](const Json& s) { return is_schema(s); });
}

void require_schemas(const std::string& key, const Json& list, const std::string& place) {
  if (!list.is_array() || list.empty() || !all_schemas(list)) {
    wrong_kind(place, key, list, "a list of schemas");
  }
}

void add_object_keyword(const std::string& key, const Json& value, const std::string& place,
                        Json& out) {
  if (key == "properties") {
    if (!value.is_object() || !all_schemas(value)) {
      wrong_kind(place, key, value, "an object of schemas");
    }
    if (value.size() > 1000) fail(place, "properties: got {}, expected up to 1000", value.size());
    if (!value.empty()) out[key] = value;
    return;
  }
  if (!value.is_array()) wrong_kind(place, key, value, "a list of names");
  for (const Json& name : value) {
    if (!name.is_string()) wrong_kind(place, key, name, "a name");
  }
  if (!value.empty()) out[key] = concatenated(Json::array(), value);
}

// Draft 7 says with a list in `items` what is prefixItems since 2020-12.
void add_item_keyword(const std::string& key, const Json& value, const Json& schema,
                      const std::string& place, Json& out) {
  const bool list = json_member(schema, "items").is_array();
  if (key == "prefixItems" || (key == "items" && list)) {
    require_schemas(key, value, place);
    out["prefixItems"] = value;
  } else if (!is_schema(value)) {
    wrong_kind(place, key, value, "a schema");
  } else if (key == "items" || list) {
    out["items"] = value;
  }  // additionalItems without a list in items says nothing
}

// Everything but $ref and allOf.
void add_keyword(const std::string& key, const Json& value, const Json& schema,
                 const std::string& place, Json& out) {
  if (key == "type") {
    out[key] = type_names(value, place);
  } else if (key == "const") {
    const Json only = Json::array({value});
    out["enum"] = out.contains("enum") ? join_member("enum", out["enum"], only, place) : only;
  } else if (key == "enum") {
    if (!value.is_array() || value.empty()) wrong_kind(place, key, value, "a list of values");
    out[key] = out.contains(key) ? join_member(key, out[key], value, place) : value;
  } else if (key == "properties" || key == "required") {
    add_object_keyword(key, value, place, out);
  } else if (key == "additionalProperties") {
    if (!is_schema(value)) wrong_kind(place, key, value, "a schema");
    out[key] = value;
  } else if (key == "items" || key == "prefixItems" || key == "additionalItems") {
    add_item_keyword(key, value, schema, place, out);
  } else if (key == "anyOf" || key == "oneOf") {
    require_schemas(key, value, place);
    if (value.size() > 256) fail(place, "{}: got {}, expected up to 256", key, value.size());
    out[key + "s"] = Json::array({value});
  } else if (has(kCounts, key)) {
    out[key] = count(key, value, place);
  } else if (has(kNumbers, key)) {
    if (!value.is_number()) wrong_kind(place, key, value, "a number");
    if (key == "multipleOf" && value <= 0) wrong_kind(place, key, value, "a number above 0");
    out[key] = value;
  } else if (key == "pattern" || key == "format") {
    if (!value.is_string()) wrong_kind(place, key, value, "a text");
    if (key == "pattern") {
      out["patterns"] = Json::array({value});
    } else {
      out[key] = value;
    }
  } else if (key == "uniqueItems" && value == false) {
  } else {
    fail(place, "got keyword '{}', which is not supported (docs/json-schema.md has those that are)",
         key);
  }
}

}  // namespace

bool is_annotation(std::string_view keyword) {
  return keyword.starts_with("x-") || has(kAnnotations, keyword);
}

std::string SchemaForms::place(const std::string& path) const {
  return fmt::format("{}: {}", origin_, path);
}

SchemaForms::Level::Level(SchemaForms& forms, const std::string& path) : forms_(forms) {
  if (forms.levels_ >= kMaxSchemaLevels) {
    fail(forms.place(path.substr(0, 200)),
         "got schemas nested over {} deep, or references that lead to each other",
         kMaxSchemaLevels);
  }
  ++forms.levels_;
}

std::string SchemaForms::bare_reference(const Json& schema) {
  if (!schema.is_object()) return {};
  const Json& reference = json_member(schema, "$ref");
  if (!reference.is_string()) return {};
  for (const auto& [key, value] : schema.items()) {
    if (key != "$ref" && !is_annotation(key)) return {};
  }
  return reference.get<std::string>();
}

const Json& SchemaForms::target(const std::string& reference, const std::string& path) const {
  if (reference != "#" && !reference.starts_with("#/")) {
    fail(place(path), "$ref: got '{}', expected a place in this schema: #/$defs/name", reference);
  }
  // RFC 6901: percent signs first, then ~1 and ~0.
  std::string pointer;
  for (std::size_t i = 1; i < reference.size(); ++i) {
    unsigned code = 0;
    const std::string_view rest = std::string_view(reference).substr(i);
    const auto hex = [](char c) { return std::string_view("0123456789abcdef").find(c | 0x20); };
    if (rest[0] == '%' && rest.size() > 2 && hex(rest[1]) < 16 && hex(rest[2]) < 16) {
      code = static_cast<unsigned>(hex(rest[1]) * 16 + hex(rest[2]));
      pointer.push_back(static_cast<char>(code));
      i += 2;
    } else {
      pointer.push_back(rest[0]);
    }
  }
  const Json* at = &root_;
  for (std::size_t begin = 1; begin <= pointer.size() && !pointer.empty();) {
    const std::size_t end = std::min(pointer.find('/', begin), pointer.size());
    std::string key;
    for (std::size_t i = begin; i < end; ++i) {
      const bool escaped = pointer[i] == '~' && i + 1 < end;
      if (escaped) ++i;
      key.push_back(escaped && pointer[i] == '1' ? '/' : escaped ? '~' : pointer[i]);
    }
    const Json* next = nullptr;
    if (at->is_object()) {
      if (const auto found = at->find(key); found != at->end()) next = &*found;
    } else if (at->is_array() && !key.empty() && key.size() < 6 &&
               key.find_first_not_of("0123456789") == std::string::npos) {
      const auto index = static_cast<std::size_t>(std::stoi(key));
      if (index < at->size()) next = &(*at)[index];
    }
    if (next == nullptr) fail(place(path), "$ref: got '{}', which this schema lacks", reference);
    at = next;
    begin = end + 1;
  }
  if (!is_schema(*at)) fail(place(path), "$ref: got '{}', expected a schema there", reference);
  return *at;
}

Json SchemaForms::flat(const Json& schema, const std::string& path) {
  return flat_at(schema, path, 0);
}

Json SchemaForms::flat_at(const Json& schema, const std::string& path, int references) {
  if (++work_ > kMaxWork) {
    fail(place(path), "got a schema that unfolds to over {} parts, expected a smaller one",
         kMaxWork);
  }
  if (references > kMaxReferences) {
    fail(place(path), "$ref: got references that lead to each other, expected a schema at the end");
  }
  if (schema.is_boolean()) return schema.get<bool>() ? Json::object() : Json(false);
  if (!schema.is_object()) fail(place(path), "got {}, expected a schema", schema.type_name());
  Json out = Json::object();
  const std::string where = place(path);
  for (const auto& [key, value] : schema.items()) {
    if (key == "$ref" || key == "allOf") continue;
    if (key == "$id" && path != "#") fail(where, "got keyword '$id' below the root");
    if (!is_annotation(key)) add_keyword(key, value, schema, where, out);
  }
  if (const auto reference = schema.find("$ref"); reference != schema.end()) {
    if (!reference->is_string()) wrong_kind(where, "$ref", *reference, "a text");
    const Json& referred = target(reference->get<std::string>(), path);
    out = both(flat_at(referred, path, references + 1), out, path);
  }
  if (const auto all = schema.find("allOf"); all != schema.end()) {
    require_schemas("allOf", *all, where);
    for (const Json& part : *all) out = both(out, flat_at(part, path, references + 1), path);
  }
  return out;
}

Json SchemaForms::both(const Json& a, const Json& b, const std::string& path) {
  if (a.is_boolean() || b.is_boolean()) return false;
  if (b.empty()) return a;
  if (a.empty()) return b;
  Json out = Json::object();
  for (const auto& [key, value] : a.items()) {
    const Json& other = json_member(b, key);
    out[key] = other.is_null() ? value : join_member(key, value, other, place(path));
  }
  for (const auto& [key, value] : b.items()) {
    if (!out.contains(key)) out[key] = value;
  }
  for (const char* key : {"properties", "additionalProperties", "prefixItems", "items"}) {
    out.erase(key);
  }
  join_properties(a, b, out);
  join_items(a, b, out);
  return out;
}

std::vector<std::string> possible_types(const Json& flat) {
  std::vector<std::string> types;
  const auto add = [&](const char* type) {
    if (!has(types, type)) types.emplace_back(type);
  };
  if (const Json& named = json_member(flat, "type"); named.is_array()) {
    for (const Json& type : named) add(type.get<std::string>().c_str());
    if (has(types, "number")) std::erase(types, "integer");
    return types;
  }
  for (const auto& [key, value] : flat.items()) {
    if (key.ends_with("roperties") || key == "required") add("object");
    if (key.ends_with("tems")) add("array");
    if (key.ends_with("Length") || key == "patterns" || key == "format") add("string");
    if (has(kNumbers, key)) add("number");
  }
  if (types.empty()) types = {"object", "array", "string", "number", "boolean", "null"};
  return types;
}

bool SchemaForms::disjoint(const Json& a, const Json& b, const std::string& path, int depth) {
  if (a.is_boolean() || b.is_boolean()) return true;
  if (depth > kMaxDisjointDepth) return false;
  const Json& type_a = json_member(a, "type");
  const Json& type_b = json_member(b, "type");
  if (type_a.is_array() && type_b.is_array() && common_types(type_a, type_b).empty()) return true;
  const auto fits = [](const Json& values, const Json& type) {
    return std::any_of(values.begin(), values.end(), [&](const Json& value) {
      if (!type.is_array()) return true;
      std::string name = value.type_name();  // nlohmann's names are JSON Schema's
      const bool whole = value.is_number() && std::floor(value.get<double>()) == value;
      return holds(type, name) || (whole && holds(type, "integer"));
    });
  };
  const Json& enum_a = json_member(a, "enum");
  const Json& enum_b = json_member(b, "enum");
  if (enum_a.is_array() && enum_b.is_array()) {
    return join_member("enum", enum_a, enum_b, {}).empty();
  }
  if (enum_a.is_array() && !fits(enum_a, type_b)) return true;
  if (enum_b.is_array() && !fits(enum_b, type_a)) return true;
  const auto only = [](const Json& type, const char* name) {
    return type.is_array() && type.size() == 1 && type[0] == name;
  };
  if (!only(type_a, "object") && !only(type_b, "object")) return false;
  // A property that one of them must have, and that the other allows with other values only.
  const auto told_apart = [&](const Json& x, const Json& y) {
    for (const Json& name : json_member(x, "required")) {
      const Json& in_x = json_member(json_member(x, "properties"), name.get<std::string>());
      const Json* in_y = &json_member(json_member(y, "properties"), name.get<std::string>());
      if (in_y->is_null()) in_y = &json_member(y, "additionalProperties");
      if (in_y->is_null()) continue;
      const Json own = in_x.is_null() ? Json::object() : flat(in_x, path);
      if (disjoint(own, flat(*in_y, path), path, depth + 1)) return true;
    }
    return false;
  };
  return told_apart(a, b) || told_apart(b, a);
}

}  // namespace qx
