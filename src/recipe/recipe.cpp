// SPDX-License-Identifier: Apache-2.0
#include "recipe/recipe.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <initializer_list>
#include <span>

#include "base/error.h"
#include "base/mapped_file.h"
#include "embedded_recipes.h"
#include "recipe/name_pattern.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxRecipeBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxRules = 256;
constexpr std::size_t kMaxPatterns = 256;

void refuse_unknown_keys(const Json& object, std::initializer_list<std::string_view> known,
                         const std::string& place) {
  if (!object.is_object()) fail(place, "got {}, expected an object", object.type_name());
  for (const auto& item : object.items()) {
    if (std::find(known.begin(), known.end(), item.key()) == known.end()) {
      fail(place, "got unknown key '{}', expected one of: {}", item.key(), fmt::join(known, ", "));
    }
  }
}

bool has(const Json& object, std::string_view key) {
  return object.find(key) != object.end();
}

// The text's values of the placeholders, checked against "parameters".
using Values = std::map<std::string, int>;

class Parser {
 public:
  Parser(const Json& json, std::string origin) : json_(json), origin_(std::move(origin)) {}

  Recipe parse(const std::optional<std::string>& requested) {
    refuse_unknown_keys(json_,
                        {"name", "description", "parameters", "suffixes", "bits", "group_size",
                         "mode", "float", "dtype", "why", "rules", "floors"},
                        origin_);
    recipe_.origin = origin_;
    json_string_or(json_, "description", "", origin_);
    read_name(requested);
    if (has(json_, "mode") && json_string(json_, "mode", origin_) != "affine") {
      fail(origin_, "key 'mode': got {}, expected \"affine\"", json_["mode"].dump());
    }
    read_defaults();
    read_floors();
    read_rules();
    return std::move(recipe_);
  }

 private:
  void read_name(const std::optional<std::string>& requested) {
    const std::string pattern = json_string(json_, "name", origin_);
    if (pattern.empty() || pattern.size() > 200) {
      fail(origin_, "key 'name': got {} characters, expected 1 to 200", pattern.size());
    }
    const std::vector<std::string> names = placeholders(pattern);
    const std::vector<std::string> suffixes = read_suffixes();
    NameMatch match;
    recipe_.name = pattern;
    if (requested) {
      const auto found = match_name(pattern, suffixes, *requested);
      if (found) {
        match = *found;
        recipe_.name = *requested;
      } else if (!names.empty()) {
        fail(origin_,
             "the recipe is called '{}' and its values come from the file's name: got '{}', "
             "expected a name of that form",
             pattern, *requested);
      }
    } else if (!names.empty()) {
      fail(origin_, "got a name with placeholders ('{}'), expected their values", pattern);
    }
    values_ = match.values;
    check_parameters(names);
    if (!match.suffix.empty()) suffix_ = json_["suffixes"][match.suffix];
  }

  std::vector<std::string> read_suffixes() const {
    std::vector<std::string> suffixes;
    if (!has(json_, "suffixes")) return suffixes;
    const std::string place = origin_ + ": suffixes";
    const Json& object = json_["suffixes"];
    if (!object.is_object()) fail(place, "got {}, expected an object", object.type_name());
    for (const auto& item : object.items()) {
      if (item.key().empty()) fail(place, "got an empty suffix, expected a name such as \"-hi\"");
      refuse_unknown_keys(item.value(), {"group_size"}, place + "." + item.key());
      group_of(item.value(), place + "." + item.key());
      suffixes.push_back(item.key());
    }
    return suffixes;
  }

  void check_parameters(const std::vector<std::string>& names) const {
    const std::string place = origin_ + ": parameters";
    const Json parameters = has(json_, "parameters") ? json_["parameters"] : Json::object();
    if (!parameters.is_object()) {
      fail(place, "got {}, expected an object", parameters.type_name());
    }
    for (const auto& item : parameters.items()) {
      if (std::find(names.begin(), names.end(), item.key()) == names.end()) {
        fail(place, "got '{}', which the name '{}' does not hold", item.key(),
             json_string(json_, "name", origin_));
      }
    }
    for (const std::string& name : names) {
      if (!has(parameters, name)) fail(place, "got nothing for '{}', expected its values", name);
      check_parameter(parameters[name], name, place + "." + name);
    }
  }

  void check_parameter(const Json& rule, const std::string& name, const std::string& place) const {
    refuse_unknown_keys(rule, {"values", "above"}, place);
    const int value = values_.at(name);
    if (!has(rule, "values") || !rule["values"].is_array()) {
      fail(place, "key 'values': expected a list of numbers");
    }
    const Json& allowed = rule["values"];
    if (std::find(allowed.begin(), allowed.end(), Json(value)) == allowed.end()) {
      throw UsageError(fmt::format("recipe '{}': got {} = {}, expected one of {}", recipe_.name,
                                   name, value, allowed.dump()));
    }
    if (!has(rule, "above")) return;
    const std::string other = json_string(rule, "above", place);
    const auto found = values_.find(other);
    if (found == values_.end()) fail(place, "key 'above': got '{}', no placeholder", other);
    if (value <= found->second) {
      throw UsageError(fmt::format("recipe '{}': got {} = {} and {} = {}, expected {} above {}",
                                   recipe_.name, name, value, other, found->second, name, other));
    }
  }

  int group_of(const Json& object, const std::string& place) const {
    const std::int64_t group = json_int(object, "group_size", place);
    if (group != 32 && group != 64 && group != 128) {
      fail(place, "key 'group_size': got {}, expected 32, 64 or 128", group);
    }
    return static_cast<int>(group);
  }

  int bits_of(const Json& object, const std::string& place) const {
    const Json& value = object["bits"];
    std::int64_t bits = 0;
    if (value.is_string()) {
      const auto found = values_.find(value.get<std::string>());
      if (found == values_.end()) {
        fail(place, "key 'bits': got {}, which is no placeholder of the name", value.dump());
      }
      bits = found->second;
    } else {
      bits = json_int(object, "bits", place);
    }
    if (bits > 8 || bits < 0 || !is_valid({static_cast<int>(bits), 64})) {
      fail(place, "key 'bits': got {}, expected 2, 3, 4, 5, 6 or 8", bits);
    }
    return static_cast<int>(bits);
  }

  void read_defaults() {
    recipe_.is_float = json_bool_or(json_, "float", false, origin_);
    if (has(json_, "dtype")) {
      const std::string name = json_string(json_, "dtype", origin_);
      recipe_.dtype = float_dtype_from_config(name);
      if (!recipe_.dtype) {
        fail(origin_, "key 'dtype': got '{}', expected bfloat16, float16 or float32", name);
      }
    }
    if (has(json_, "group_size")) recipe_.spec.group = group_of(json_, origin_);
    if (!suffix_.is_null()) {
      recipe_.spec.group = group_of(suffix_, origin_);
      recipe_.group_is_in_name = true;
    }
    if (has(json_, "bits")) {
      recipe_.spec.bits = bits_of(json_, origin_);
    } else if (!recipe_.is_float) {
      fail(origin_, "got neither 'bits' nor 'float', expected one of them");
    }
    recipe_.why = json_string_or(json_, "why", "everything else", origin_);
  }

  void read_floors() {
    if (!has(json_, "floors")) {
      recipe_.floors[Role::kRouter] = {8, 64};
      return;
    }
    const std::string place = origin_ + ": floors";
    const Json& floors = json_["floors"];
    if (!floors.is_object()) fail(place, "got {}, expected an object", floors.type_name());
    for (const auto& item : floors.items()) {
      const std::string where = place + "." + item.key();
      const std::vector<Role> roles = roles_of_word(item.key());
      if (roles.empty()) fail(where, "got an unknown role, expected one such as \"router\"");
      refuse_unknown_keys(item.value(), {"bits", "group_size"}, where);
      if (!has(item.value(), "bits")) fail(where, "key 'bits': got nothing, expected a width");
      AffineSpec spec{bits_of(item.value(), where), recipe_.spec.group};
      if (has(item.value(), "group_size")) spec.group = group_of(item.value(), where);
      for (const Role role : roles) recipe_.floors[role] = spec;
    }
  }

  void read_rules() {
    if (!has(json_, "rules")) return;
    const Json& rules = json_["rules"];
    if (!rules.is_array()) {
      fail(origin_ + ": rules", "got {}, expected a list", rules.type_name());
    }
    if (rules.size() > kMaxRules) {
      fail(origin_ + ": rules", "got {} rules, expected at most {}", rules.size(), kMaxRules);
    }
    for (std::size_t i = 0; i < rules.size(); ++i) {
      recipe_.rules.push_back(read_rule(rules[i], fmt::format("{}: rules[{}]", origin_, i)));
      if (recipe_.rules.back().why.empty()) recipe_.rules.back().why = fmt::format("rule {}", i);
    }
  }

  Rule read_rule(const Json& json, const std::string& place) const {
    refuse_unknown_keys(json, {"match", "roles", "layers", "bits", "group_size", "float", "why"},
                        place);
    Rule rule;
    rule.why = json_string_or(json, "why", "", place);
    if (has(json, "match")) read_patterns(json["match"], place + ".match", rule);
    if (has(json, "roles")) read_roles(json["roles"], place + ".roles", rule);
    if (has(json, "layers")) rule.layers = read_layers(json["layers"], place + ".layers");
    if (!has(json, "match") && !has(json, "roles") && !has(json, "layers")) {
      fail(place, "got no 'match', 'roles' or 'layers', expected at least one");
    }
    rule.is_float = json_bool_or(json, "float", false, place);
    if (rule.is_float == has(json, "bits")) {
      fail(place, "got {}, expected exactly one of 'bits' and \"float\": true",
           rule.is_float ? "both" : "neither");
    }
    if (rule.is_float && has(json, "group_size")) {
      fail(place, "key 'group_size': a float tensor has none");
    }
    rule.spec = recipe_.spec;
    if (!rule.is_float) rule.spec.bits = bits_of(json, place);
    rule.has_own_group = has(json, "group_size");
    if (rule.has_own_group) rule.spec.group = group_of(json, place);
    return rule;
  }

  static std::vector<std::string> strings(const Json& json, const std::string& place) {
    std::vector<std::string> out;
    const Json list = json.is_string() ? Json::array({json}) : json;
    if (!list.is_array() || list.empty()) {
      fail(place, "got {}, expected a string or a list of strings", json.dump().substr(0, 80));
    }
    if (list.size() > kMaxPatterns) {
      fail(place, "got {} entries, expected at most {}", list.size(), kMaxPatterns);
    }
    for (const Json& item : list) {
      if (!item.is_string() || item.get_ref<const std::string&>().empty()) {
        fail(place, "got {}, expected a non-empty string", item.dump().substr(0, 80));
      }
      out.push_back(item.get<std::string>());
    }
    return out;
  }

  static void read_patterns(const Json& json, const std::string& place, Rule& rule) {
    rule.patterns = strings(json, place);
    for (const std::string& pattern : rule.patterns) {
      rule.names_router = rule.names_router || pattern.ends_with("mlp.gate") ||
                          pattern.ends_with("mlp.gate.weight");
    }
  }

  static void read_roles(const Json& json, const std::string& place, Rule& rule) {
    rule.roles.emplace();
    for (const std::string& word : strings(json, place)) {
      const std::vector<Role> roles = roles_of_word(word);
      if (roles.empty()) {
        fail(place,
             "got '{}', expected embedding, head, attention, q, k, v, o, mlp, gate, up, down, "
             "router or expert",
             word);
      }
      rule.roles->insert(rule.roles->end(), roles.begin(), roles.end());
      rule.names_router = rule.names_router || word == "router";
    }
  }

  static LayerPosition read_position(const Json& json, const std::string& place) {
    constexpr std::int64_t kLimit = 1'000'000;
    LayerPosition position;
    if (json.is_number_integer()) {
      position.numerator = json.is_number_unsigned() && json.get<std::uint64_t>() > kLimit
                               ? kLimit + 1
                               : json.get<std::int64_t>();
      if (position.numerator <= kLimit && position.numerator >= -kLimit) return position;
    } else if (json.is_string()) {
      const std::string& text = json.get_ref<const std::string&>();
      const char* end = text.data() + text.size();
      const auto [slash, error] = std::from_chars(text.data(), end, position.numerator);
      if (error == std::errc() && slash != end && *slash == '/') {
        const auto [rest, error2] = std::from_chars(slash + 1, end, position.denominator);
        if (error2 == std::errc() && rest == end && position.denominator >= 1 &&
            position.denominator <= kLimit && position.numerator >= 0 &&
            position.numerator <= position.denominator) {
          return position;
        }
      }
    }
    fail(place, "got {}, expected a layer number or a fraction such as \"7/8\"",
         json.dump().substr(0, 80));
  }

  static LayerSet read_layer_set(const Json& json, const std::string& place) {
    LayerSet set;
    if (json.is_number_integer()) {
      set.from = read_position(json, place);
      set.every = 0;
      return set;
    }
    refuse_unknown_keys(json, {"from", "before", "every", "offset"}, place);
    if (json.empty()) fail(place, "got nothing, expected from, before, every or offset");
    if (has(json, "from")) set.from = read_position(json["from"], place + ".from");
    if (has(json, "before")) set.before = read_position(json["before"], place + ".before");
    set.every = json_int_or(json, "every", 1, place);
    set.offset = json_int_or(json, "offset", 0, place);
    if (set.every < 1 || set.every > 1'000'000) {
      fail(place, "key 'every': got {}, expected 1 to 1000000", set.every);
    }
    if (set.offset < 0 || set.offset >= set.every) {
      fail(place, "key 'offset': got {}, expected 0 to {}", set.offset, set.every - 1);
    }
    return set;
  }

  static std::vector<LayerSet> read_layers(const Json& json, const std::string& place) {
    if (!json.is_array()) return {read_layer_set(json, place)};
    if (json.empty()) fail(place, "got an empty list, expected layers");
    std::vector<LayerSet> sets;
    for (std::size_t i = 0; i < json.size(); ++i) {
      sets.push_back(read_layer_set(json[i], fmt::format("{}[{}]", place, i)));
    }
    return sets;
  }

  const Json& json_;
  std::string origin_;
  Values values_;
  Json suffix_;
  Recipe recipe_;
};

Json parse_recipe_json(std::string_view text, const std::string& origin) {
  if (text.size() > kMaxRecipeBytes) {
    fail(origin, "got {} bytes, expected at most {}", text.size(), kMaxRecipeBytes);
  }
  return parse_json(text, origin);
}

}  // namespace

std::int64_t LayerPosition::resolve(std::int64_t layers) const {
  if (denominator != 0) return layers * numerator / denominator;
  return numerator < 0 ? layers + numerator : numerator;
}

std::vector<Role> roles_of_word(std::string_view word) {
  if (word == "attention") {
    return {Role::kAttentionQ, Role::kAttentionK, Role::kAttentionV, Role::kAttentionO};
  }
  if (word == "mlp") return {Role::kMlpGate, Role::kMlpUp, Role::kMlpDown};
  for (const Role role : {Role::kEmbedding, Role::kHead, Role::kAttentionQ, Role::kAttentionK,
                          Role::kAttentionV, Role::kAttentionO, Role::kMlpGate, Role::kMlpUp,
                          Role::kMlpDown, Role::kRouter, Role::kExpert}) {
    if (word == role_name(role)) return {role};
  }
  return {};
}

bool glob_match(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;  // let the last star take one character more
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool recipe_name_fits(const Json& recipe_file, const std::string& requested) {
  std::vector<std::string> suffixes;
  if (has(recipe_file, "suffixes")) {
    for (const auto& item : recipe_file["suffixes"].items()) suffixes.push_back(item.key());
  }
  return match_name(recipe_file["name"].get<std::string>(), suffixes, requested).has_value();
}

Recipe parse_recipe(std::string_view text, const std::string& origin,
                    const std::optional<std::string>& requested) {
  const Json json = parse_recipe_json(text, origin);
  return Parser(json, origin).parse(requested);
}

std::string known_recipes() {
  std::string out;
  for (const auto& [file, text] : embedded_recipes()) {
    const Json json = parse_json(text, file);
    out += (out.empty() ? "" : ", ") + json["name"].get<std::string>();
    if (!has(json, "suffixes")) continue;
    for (const auto& item : json["suffixes"].items()) out += "[" + item.key() + "]";
  }
  return out;
}

Recipe find_recipe(const std::string& name_or_path) {
  if (name_or_path.find('/') != std::string::npos || name_or_path.ends_with(".json")) {
    const MappedFile file{fs::path(name_or_path)};
    return parse_recipe(file.text(), name_or_path, fs::path(name_or_path).stem().string());
  }
  for (const auto& [file, text] : embedded_recipes()) {
    if (!recipe_name_fits(parse_json(text, file), name_or_path)) continue;
    return parse_recipe(text, std::string(file), name_or_path);
  }
  throw UsageError(
      fmt::format("recipe: got '{}', expected a recipe file (a path ending in .json) or one of: {}",
                  name_or_path, known_recipes()));
}

}  // namespace qx
