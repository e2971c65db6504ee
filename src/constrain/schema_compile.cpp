// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "base/error.h"
#include "constrain/grammar.h"
#include "constrain/pattern.h"
#include "constrain/schema_check.h"
#include "constrain/schema_forms.h"
#include "constrain/string_formats.h"

namespace qx {
namespace {

using Kind = GrammarNode::Kind;
using NodeId = std::int32_t;

constexpr std::size_t kMaxNodes = 200'000;
constexpr std::int64_t kMaxTextStates = std::int64_t{1} << 30;  // they are numbered in 32 bits
constexpr std::int64_t kMaxTableStates = 1'000'000;             // they take memory
constexpr std::int64_t kMaxItems = std::int64_t{1} << 30;       // larger limits mean the same

class SchemaCompiler {
 public:
  SchemaCompiler(const Json& schema, std::string_view origin) : forms_(schema, origin) {
    character_ = std::make_shared<const ByteMachine>(any_string_character());
    Fragments f("white space");
    const auto with_space = [&](std::string_view before, std::string_view after) {
      Fragments g("white space");
      const Fragments::Part parts[] = {g.literal(before), white_space(g), g.literal(after)};
      return text_node(TextAutomaton(g.machine(g.sequence(parts))), "#");
    };
    never_ = add({Kind::kEither});
    nothing_ = add({Kind::kSequence});
    comma_ = with_space(",", "");
    open_object_ = with_space("{", "");
    close_object_ = with_space("", "}");
    open_array_ = with_space("[", "");
    close_array_ = with_space("", "]");
    const std::string colons[] = {":", ": "};
    colon_ = text_node(TextAutomaton(one_of(colons, "#")), "#");
    empty_object_ = literal("{}");
    empty_array_ = literal("[]");
    // Room for itself: an array of any values is made of any values.
    any_ = add({Kind::kEither});
    const NodeId choices[] = {object(Json::object(), "#"),
                              array(Json::object(), "#"),
                              string(Json::object(), "#"),
                              text_node(TextAutomaton(any_number()), "#"),
                              literal("true"),
                              literal("false"),
                              literal("null")};
    node(any_).children.assign(std::begin(choices), std::end(choices));
    out_.root = compile(schema, "#");
  }

  Grammar finish() {
    refuse_loops();
    find_levels();
    if (node(out_.root).levels > kMaxLevels) {
      fail(forms_.place("#"),
           "got a schema that no value satisfies, or only values nested over {} deep", kMaxLevels);
    }
    // The any-value rule has open keys of its own, whether the schema reaches it or not.
    out_.open_keys = reaches_open_keys();
    return std::move(out_);
  }

 private:
  GrammarNode& node(NodeId id) { return out_.nodes[static_cast<std::size_t>(id)]; }

  NodeId add(GrammarNode fresh) {
    if (out_.nodes.size() >= kMaxNodes) {
      fail(forms_.place("#"), "got a schema of over {} parts, expected a smaller one", kMaxNodes);
    }
    out_.nodes.push_back(std::move(fresh));
    return static_cast<NodeId>(out_.nodes.size() - 1);
  }
  NodeId sequence(std::vector<NodeId> children) {
    return add({Kind::kSequence, 0, std::move(children)});
  }
  NodeId either(std::vector<NodeId> children) {
    return add({Kind::kEither, 0, std::move(children)});
  }
  NodeId repeat(NodeId child, std::int64_t min, std::int64_t max) {
    if (max != kNoLimit) max = std::min(max, kMaxItems);
    return add({Kind::kRepeat, 0, {child}, min, max});
  }

  NodeId text_node(TextAutomaton text, const std::string& path) {
    text_states_ += text.states();
    if (text_states_ > kMaxTextStates) {
      fail(forms_.place(path), "got too many long strings, expected smaller values of maxLength");
    }
    out_.first_state.push_back(static_cast<std::int32_t>(text_states_ - text.states()));
    out_.texts.push_back(std::move(text));
    return add({Kind::kText, static_cast<std::int32_t>(out_.texts.size() - 1)});
  }
  NodeId table(ByteMachine machine, const std::string& path) {
    if (machine.empty()) return never_;
    table_states_ += machine.states();
    if (table_states_ > kMaxTableStates) {
      fail(forms_.place(path), "got text patterns of over {} states in all", kMaxTableStates);
    }
    return text_node(TextAutomaton(std::move(machine)), path);
  }
  NodeId literal(const std::string& text) { return table(one_of({&text, 1}, "literal"), "#"); }

  NodeId compile(const Json& schema, const std::string& path);
  NodeId compile_flat(const Json& flat, const std::string& path);
  NodeId reference(const std::string& name, const std::string& path);
  NodeId choices(const Json& flat, const char* key, const std::string& path);
  NodeId values(const Json& flat, const std::string& path);
  NodeId object(const Json& flat, const std::string& path);
  NodeId extra_members(const Json& rest, const std::vector<std::string>& names,
                       const std::string& path);
  NodeId members(const std::vector<std::pair<NodeId, bool>>& named, NodeId extra,
                 std::int64_t max_extra);
  NodeId array(const Json& flat, const std::string& path);
  NodeId string(const Json& flat, const std::string& path);
  NodeId number(const Json& flat, bool integer, const std::string& path);
  void refuse_loops();
  void find_levels();
  bool reaches_open_keys() const;

  SchemaForms forms_;
  Grammar out_;
  std::shared_ptr<const ByteMachine> character_;
  std::map<std::string, NodeId> references_;
  std::vector<NodeId> open_key_nodes_;
  std::optional<NodeId> free_string_, free_key_;
  std::int64_t text_states_ = 0, table_states_ = 0;
  NodeId never_ = 0, nothing_ = 0, comma_ = 0, colon_ = 0, any_ = 0;
  NodeId open_object_ = 0, close_object_ = 0, open_array_ = 0, close_array_ = 0;
  NodeId empty_object_ = 0, empty_array_ = 0;
};

NodeId SchemaCompiler::compile(const Json& schema, const std::string& path) {
  if (const std::string name = SchemaForms::bare_reference(schema); !name.empty()) {
    return reference(name, path);
  }
  const SchemaForms::Level level(forms_, path);
  return compile_flat(forms_.flat(schema, path), path);
}

NodeId SchemaCompiler::reference(const std::string& name, const std::string& path) {
  if (const auto known = references_.find(name); known != references_.end()) return known->second;
  const Json& target = forms_.target(name, path);
  const NodeId own = add({Kind::kEither});
  references_.emplace(name, own);
  const SchemaForms::Level level(forms_, path);
  const NodeId body = compile(target, name);
  node(own).children.push_back(body);
  return own;
}

NodeId SchemaCompiler::compile_flat(const Json& flat, const std::string& path) {
  if (flat.is_boolean()) return flat.get<bool>() ? any_ : never_;
  if (flat.contains("anyOfs")) return choices(flat, "anyOfs", path);
  if (flat.contains("oneOfs")) return choices(flat, "oneOfs", path);
  if (flat.contains("enum")) return values(flat, path);
  if (flat.empty()) return any_;
  std::vector<NodeId> nodes;
  for (const std::string& type : possible_types(flat)) {
    if (type == "object") nodes.push_back(object(flat, path));
    if (type == "array") nodes.push_back(array(flat, path));
    if (type == "string") nodes.push_back(string(flat, path));
    if (type == "number" || type == "integer")
      nodes.push_back(number(flat, type == "integer", path));
    if (type == "null") nodes.push_back(literal("null"));
    if (type == "boolean") {
      nodes.push_back(literal("true"));
      nodes.push_back(literal("false"));
    }
  }
  return nodes.size() == 1 ? nodes[0] : either(std::move(nodes));
}

// The first group of alternatives; what else the form demands goes into each of them.
NodeId SchemaCompiler::choices(const Json& flat, const char* key, const std::string& path) {
  const SchemaForms::Level level(forms_, path);
  const bool exclusive = std::string_view(key) == "oneOfs";
  Json rest = flat;
  const Json group = rest[key][0];
  rest[key].erase(0);
  if (rest[key].empty()) rest.erase(key);
  std::vector<NodeId> nodes;
  std::vector<Json> forms;
  for (std::size_t i = 0; i < group.size(); ++i) {
    const std::string own = fmt::format("{}/{}/{}", path, exclusive ? "oneOf" : "anyOf", i);
    if (exclusive || !rest.empty()) {
      forms.push_back(forms_.both(rest, forms_.flat(group[i], own), own));
    }
    for (std::size_t j = 0; exclusive && j < i; ++j) {
      if (!forms_.disjoint(forms[j], forms[i], own)) {
        fail(forms_.place(path),
             "oneOf: got alternatives {} and {}, which one value may satisfy both; expected anyOf, "
             "or a "
             "required property whose const tells them apart",
             j, i);
      }
    }
    nodes.push_back(rest.empty() ? compile(group[i], own) : compile_flat(forms[i], own));
  }
  return either(std::move(nodes));
}

NodeId SchemaCompiler::values(const Json& flat, const std::string& path) {
  std::vector<std::string> texts;
  for (const Json& value : flat.at("enum")) {
    if (satisfies_flat(value, flat, forms_, path)) texts.push_back(value.dump());
  }
  return table(one_of(texts, forms_.place(path)), path);
}

NodeId SchemaCompiler::extra_members(const Json& rest, const std::vector<std::string>& names,
                                     const std::string& path) {
  NodeId key = never_;
  if (names.empty() && free_key_) {
    key = *free_key_;
  } else {
    key = table(open_key(names, forms_.place(path)), path);
    open_key_nodes_.push_back(key);
    if (names.empty()) free_key_ = key;
  }
  const NodeId value = rest.is_null() ? any_ : compile(rest, path + "/additionalProperties");
  return sequence({key, colon_, value});
}

// Members of an object that has at least one: the named ones in their order, each perhaps missing, then extra
// ones. rest[i] with a comma before each, first[i] without one before the first.
NodeId SchemaCompiler::members(const std::vector<std::pair<NodeId, bool>>& named, NodeId extra,
                               std::int64_t max_extra) {
  const bool extras = extra != never_ && max_extra != 0;
  NodeId rest = extras ? repeat(sequence({comma_, extra}), 0, max_extra) : nothing_;
  NodeId first = never_;
  if (extras) {
    const std::int64_t more = max_extra == kNoLimit ? kNoLimit : max_extra - 1;
    first = sequence({extra, repeat(sequence({comma_, extra}), 0, more)});
  }
  for (std::size_t i = named.size(); i-- > 0;) {
    const auto [member, required] = named[i];
    const NodeId here_first = sequence({member, rest});
    const NodeId here_rest = sequence({comma_, member, rest});
    first = required ? here_first : either({here_first, first});
    rest = required ? here_rest : either({here_rest, rest});
  }
  return first;
}

NodeId SchemaCompiler::object(const Json& flat, const std::string& path) {
  const Json& properties = json_member(flat, "properties");
  const Json& required = json_member(flat, "required");
  const Json& rest = json_member(flat, "additionalProperties");
  std::vector<std::string> names;
  std::vector<std::pair<NodeId, bool>> named;
  const auto add_member = [&](const std::string& name, const Json& schema, bool needed) {
    names.push_back(name);
    const std::string keys[] = {Json(name).dump() + ":", Json(name).dump() + ": "};
    const NodeId value = schema.is_null() ? any_ : compile(schema, path + "/properties/" + name);
    if (value == never_ && !needed) return;
    named.emplace_back(sequence({table(one_of(keys, forms_.place(path)), path), value}), needed);
  };
  const auto is_required = [&](const std::string& name) {
    return std::find(required.begin(), required.end(), name) != required.end();
  };
  if (properties.is_object()) {
    for (const auto& [name, schema] : properties.items()) {
      add_member(name, schema, is_required(name));
    }
  }
  for (const Json& name : required) {
    const auto text = name.get<std::string>();
    if (std::find(names.begin(), names.end(), text) == names.end()) add_member(text, rest, true);
  }
  const auto needed = std::count_if(named.begin(), named.end(), [](auto& n) { return n.second; });
  const auto known = static_cast<std::int64_t>(named.size());
  // Without a word about further members, an object of named members has no others.
  NodeId extra = never_;
  const bool refused = rest.is_boolean() && !rest.get<bool>();
  if (!refused && (rest.is_null() ? names.empty() : true)) {
    // While any_ is being made it cannot be asked for by its schema.
    extra = extra_members(rest, names, path);
  }
  const Json& min = json_member(flat, "minProperties");
  const Json& max = json_member(flat, "maxProperties");
  const std::int64_t least = min.is_null() ? 0 : min.get<std::int64_t>();
  const std::int64_t most = max.is_null() ? kNoLimit : max.get<std::int64_t>();
  if (most != kNoLimit && (most < least || most < needed)) return never_;
  if (named.empty()) {
    if (most == 0) return add({Kind::kNest, 0, {empty_object_}});
    std::vector<NodeId> forms;
    if (least == 0) forms.push_back(empty_object_);
    const std::int64_t fewest = std::max<std::int64_t>(least, 1);
    const NodeId more =
        repeat(sequence({comma_, extra}), fewest - 1, most == kNoLimit ? kNoLimit : most - 1);
    if (extra != never_) forms.push_back(sequence({open_object_, extra, more, close_object_}));
    return add({Kind::kNest, 0, {either(std::move(forms))}});
  }
  if (least == known && needed < known && extra == never_) {
    for (auto& member : named) member.second = true;
  } else if (least > needed && !(least == 1 && needed == 0)) {
    fail(forms_.place(path),
         "minProperties: got {} beside {} required properties, expected no more than these, or all",
         least, needed);
  }
  if (most != kNoLimit && most < known) {
    fail(forms_.place(path), "maxProperties: got {} beside {} named ones, expected at least these",
         most, known);
  }
  const NodeId inside = members(named, extra, most == kNoLimit ? kNoLimit : most - known);
  const NodeId full = sequence({open_object_, inside, close_object_});
  const bool may_be_empty = needed == 0 && least == 0;
  return add({Kind::kNest, 0, {may_be_empty ? either({empty_object_, full}) : full}});
}

NodeId SchemaCompiler::array(const Json& flat, const std::string& path) {
  const Json& first = json_member(flat, "prefixItems");
  const Json& rest = json_member(flat, "items");
  const Json& min = json_member(flat, "minItems");
  const Json& max = json_member(flat, "maxItems");
  const std::int64_t least = min.is_null() ? 0 : min.get<std::int64_t>();
  std::int64_t most = max.is_null() ? kNoLimit : max.get<std::int64_t>();
  auto known = static_cast<std::int64_t>(first.size());
  const bool closed =
      (rest.is_boolean() && !rest.get<bool>()) || (rest.is_null() && known > 0 && least <= known);
  if (closed) most = most == kNoLimit ? known : std::min(most, known);
  if (most != kNoLimit && most < least) return never_;
  if (most == 0) return add({Kind::kNest, 0, {empty_array_}});
  if (most != kNoLimit) known = std::min(known, most);

  const bool more = most == kNoLimit || most > known;
  NodeId item = never_;
  if (more) item = rest.is_null() ? any_ : compile(rest, path + "/items");
  NodeId tail = nothing_;
  if (more) {
    const std::int64_t taken = std::max<std::int64_t>(known, 1);
    tail = repeat(sequence({comma_, item}), std::max<std::int64_t>(0, least - taken),
                  most == kNoLimit ? kNoLimit : most - taken);
  }
  // From the last known item to the first: an array may end before an item that it need not have.
  for (std::int64_t i = known - 1; i >= 0; --i) {
    const NodeId own =
        compile(first[static_cast<std::size_t>(i)], fmt::format("{}/prefixItems/{}", path, i));
    if (i == 0) {
      tail = sequence({own, tail});
    } else {
      const NodeId here = sequence({comma_, own, tail});
      tail = i >= least ? either({nothing_, here}) : here;
    }
  }
  if (known == 0) tail = sequence({item, tail});
  const NodeId full = sequence({open_array_, tail, close_array_});
  return add({Kind::kNest, 0, {least == 0 ? either({empty_array_, full}) : full}});
}

NodeId SchemaCompiler::string(const Json& flat, const std::string& path) {
  StringLength length;
  if (const Json& v = json_member(flat, "minLength"); !v.is_null()) length.min = v;
  if (const Json& v = json_member(flat, "maxLength"); !v.is_null()) length.max = v;
  if (length.min > kMaxStringLength) {
    fail(forms_.place(path), "minLength: got {}, expected at most {}", length.min,
         kMaxStringLength);
  }
  if (length.max != kNoLimit) length.max = std::min(length.max, kMaxStringLength);
  if (length.max != kNoLimit && length.max < length.min) return never_;
  std::vector<std::string> patterns;
  for (const Json& p : json_member(flat, "patterns")) patterns.push_back(p.get<std::string>());
  if (const Json& format = json_member(flat, "format"); format.is_string()) {
    const std::string_view pattern = format_pattern(format.get<std::string>());
    if (!pattern.empty()) patterns.emplace_back(pattern);
  }
  const bool free = length.min == 0 && length.max == kNoLimit;
  if (patterns.empty()) {
    if (free && free_string_) return *free_string_;
    const NodeId own = text_node(TextAutomaton(character_, length), path);
    if (free) free_string_ = own;
    return own;
  }
  const std::string where = forms_.place(path);
  ByteMachine machine = strings_matching(patterns[0], where);
  for (std::size_t i = 1; i < patterns.size(); ++i) {
    machine = intersection(machine, strings_matching(patterns[i], where), where);
  }
  if (!free) machine = intersection(machine, plain_string_of_length(length, where), where);
  return table(std::move(machine), path);
}

NodeId SchemaCompiler::number(const Json& flat, bool integer, const std::string& path) {
  NumberRange range;
  range.integer = integer;
  const Json& multiple = json_member(flat, "multipleOf");
  if (!multiple.is_null()) {
    const double value = multiple.get<double>();
    if (value != std::floor(value) || value > static_cast<double>(kMaxMultiple)) {
      fail(forms_.place(path), "multipleOf: got {}, expected an integer up to {}", multiple.dump(),
           kMaxMultiple);
    }
    range.integer = true;
    range.multiple_of = static_cast<std::int64_t>(value);
  }
  const auto tighter = [&](const char* key, bool exclusive, bool lower) {
    const Json& limit = json_member(flat, key);
    if (limit.is_null()) return;
    std::optional<Decimal>& own = lower ? range.min : range.max;
    // Of an inclusive and an exclusive limit the stricter one counts, at equal values the exclusive.
    const Json& other = json_member(flat, lower ? "minimum" : "maximum");
    if (exclusive && !other.is_null() && (lower ? other > limit : other < limit)) return;
    own = decimal_of(limit);
    (lower ? range.exclusive_min : range.exclusive_max) = exclusive;
  };
  tighter("minimum", false, true);
  tighter("exclusiveMinimum", true, true);
  tighter("maximum", false, false);
  tighter("exclusiveMaximum", true, false);
  if (!range.integer && !range.min && !range.max) {
    return text_node(TextAutomaton(any_number()), path);
  }
  return table(number_in_range(range, forms_.place(path)), path);
}

// A node that leads to itself without a level between would never begin.
void SchemaCompiler::refuse_loops() {
  enum : std::uint8_t { kNew, kOpen, kDone };
  std::vector<std::uint8_t> marks(out_.nodes.size(), kNew);
  std::vector<std::pair<NodeId, std::size_t>> stack;
  for (std::size_t root = 0; root < out_.nodes.size(); ++root) {
    if (marks[root] != kNew) continue;
    stack.emplace_back(static_cast<NodeId>(root), 0);
    marks[root] = kOpen;
    while (!stack.empty()) {
      auto& [id, next] = stack.back();
      const GrammarNode& n = node(id);
      if (n.kind == Kind::kNest || next == n.children.size()) {
        marks[static_cast<std::size_t>(id)] = kDone;
        stack.pop_back();
        continue;
      }
      const NodeId child = n.children[next++];
      std::uint8_t& mark = marks[static_cast<std::size_t>(child)];
      if (mark == kOpen) {
        fail(forms_.place("#"),
             "got a schema that refers to itself without an object or array between");
      }
      if (mark == kNew) {
        mark = kOpen;
        stack.emplace_back(child, 0);
      }
    }
  }
}

void SchemaCompiler::find_levels() {
  constexpr std::int32_t kNever = kMaxLevels + 1;
  for (GrammarNode& n : out_.nodes) n.levels = kNever;
  for (bool changed = true; changed;) {
    changed = false;
    for (GrammarNode& n : out_.nodes) {
      std::int32_t levels = n.kind == Kind::kEither ? kNever : 0;
      for (const NodeId child : n.children) {
        const std::int32_t below = node(child).levels;
        levels = n.kind == Kind::kEither ? std::min(levels, below) : std::max(levels, below);
      }
      if (n.kind == Kind::kRepeat && n.min == 0) levels = 0;
      if (n.kind == Kind::kNest) levels = std::min(levels + 1, kNever);
      changed = changed || levels != n.levels;
      n.levels = levels;
    }
  }
}

bool SchemaCompiler::reaches_open_keys() const {
  std::vector<bool> seen(out_.nodes.size(), false);
  std::vector<NodeId> open = {out_.root};
  while (!open.empty()) {
    const NodeId id = open.back();
    open.pop_back();
    if (seen[static_cast<std::size_t>(id)]) continue;
    seen[static_cast<std::size_t>(id)] = true;
    if (std::find(open_key_nodes_.begin(), open_key_nodes_.end(), id) != open_key_nodes_.end()) {
      return true;
    }
    const GrammarNode& n = out_.nodes[static_cast<std::size_t>(id)];
    open.insert(open.end(), n.children.begin(), n.children.end());
  }
  return false;
}

}  // namespace

Grammar compile_schema(const Json& schema, std::string_view origin) {
  return SchemaCompiler(schema, origin).finish();
}

}  // namespace qx
