// Method tables, and the methods of lists, tuples, dicts and ranges (jinja_methods.h).
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_methods.h"

#include <algorithm>
#include <array>
#include <span>

#include "text/jinja_ops.h"
#include "text/jinja_strings.h"

namespace qx::jinja {

namespace {

Value dict_view(Runtime& rt, std::string_view name, const Value& self, Arguments& arguments) {
  bind(rt, name, arguments, {});
  std::vector<Value> items;
  for (const auto& [key, value] : self.as_dict().entries) {
    rt.charge_bytes(sizeof(Value));
    items.push_back(name == "dict_keys"     ? key
                    : name == "dict_values" ? value
                                            : rt.tuple({key, value}));
  }
  return Value::view(rt.make<View>(name, std::move(items)));
}

Value dict_keys(Runtime& rt, const Value& self, Arguments& arguments) {
  return dict_view(rt, "dict_keys", self, arguments);
}

Value dict_values(Runtime& rt, const Value& self, Arguments& arguments) {
  return dict_view(rt, "dict_values", self, arguments);
}

Value dict_items(Runtime& rt, const Value& self, Arguments& arguments) {
  return dict_view(rt, "dict_items", self, arguments);
}

Value dict_get(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args = bind(rt, "get", arguments, {{"", {}}, {"", Value()}});
  if (!hashable(rt, args[0])) {
    rt.fail("get() got a key of type '{}', expected one that can be hashed", type_name(args[0]));
  }
  const Value* value = dict_find(rt, self.as_dict(), args[0]);
  return value == nullptr ? args[1] : *value;
}

// Values never change, so a copy is the thing itself.
Value copy(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "copy", arguments, {});
  return self;
}

Value sequence_count(Runtime& rt, const Value& self, Arguments& arguments) {
  const Value wanted = bind(rt, "count", arguments, {{"", {}}})[0];
  std::int64_t count = 0;
  Iterator* items = iterate(rt, self);
  while (const std::optional<Value> item = items->next(rt)) {
    count += same(*item, wanted) || equals(rt, *item, wanted);
  }
  return Value::integer(count);
}

Value sequence_index(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, "index", arguments, {{"", {}}, {"", Value::integer(0)}, {"", Value()}});
  const auto size = static_cast<std::int64_t>(length(rt, self).value_or(0));
  const auto bound = [&](const Value& value) {
    const std::int64_t at = int_argument(rt, "index", value);
    return std::max<std::int64_t>(at < 0 ? at + size : at, 0);
  };
  const std::int64_t start = bound(args[1]);
  const std::int64_t stop = args[2].is_none() ? size : std::min(bound(args[2]), size);
  Iterator* items = iterate(rt, self);
  for (std::int64_t at = 0; at < stop; ++at) {
    const std::optional<Value> item = items->next(rt);
    if (item && at >= start && (same(*item, args[0]) || equals(rt, *item, args[0]))) {
      return Value::integer(at);
    }
  }
  rt.fail("index() got a value that is not in the {}, expected one that is", type_name(self));
}

constexpr NativeEntry kDictMethods[] = {
    {"copy", copy},      {"get", dict_get},       {"items", dict_items},
    {"keys", dict_keys}, {"values", dict_values},
};
constexpr NativeEntry kListMethods[] = {
    {"copy", copy},
    {"count", sequence_count},
    {"index", sequence_index},
};
constexpr NativeEntry kTupleMethods[] = {{"count", sequence_count}, {"index", sequence_index}};

constexpr std::string_view kDictMutators[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kListMutators[] = {"append", "clear",  "extend",  "insert",
                                              "pop",    "remove", "reverse", "sort"};

constexpr std::string_view kUnsupportedString[] = {"encode", "expandtabs", "isidentifier",
                                                   "maketrans", "translate"};
constexpr std::string_view kUnsupportedDict[] = {"fromkeys"};
constexpr std::string_view kUnsupportedNumber[] = {
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator",
    "from_bytes",       "fromhex",   "hex",        "imag",      "is_integer",
    "numerator",        "real",      "to_bytes",
};
constexpr std::string_view kUnsupportedView[] = {"isdisjoint", "mapping"};
constexpr std::string_view kUnsupportedIterator[] = {"close",        "gi_running", "gi_suspended",
                                                     "gi_yieldfrom", "send",       "throw"};

Native find_native(std::span<const NativeEntry> table, std::string_view name) {
  for (const NativeEntry& entry : table) {
    if (entry.name == name) {
      return entry.function;
    }
  }
  return nullptr;
}

bool has(std::span<const std::string_view> table, std::string_view name) {
  return std::find(table.begin(), table.end(), name) != table.end();
}

}  // namespace

Native find_method(Kind kind, std::string_view name) {
  switch (kind) {
    case Kind::kString:
      return find_string_method(name);
    case Kind::kDict:
      return find_native(kDictMethods, name);
    case Kind::kList:
      return find_native(kListMethods, name);
    case Kind::kTuple:
    case Kind::kRange:
      return find_native(kTupleMethods, name);
    default:
      return nullptr;
  }
}

bool is_mutator(Kind kind, std::string_view name) {
  return (kind == Kind::kDict && has(kDictMutators, name)) ||
         (kind == Kind::kList && has(kListMutators, name));
}

bool is_unsupported_method(Kind kind, std::string_view name) {
  switch (kind) {
    case Kind::kString:
      return has(kUnsupportedString, name);
    case Kind::kDict:
      return has(kUnsupportedDict, name);
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return has(kUnsupportedNumber, name);
    case Kind::kView:
      return has(kUnsupportedView, name);
    case Kind::kIterator:
      return has(kUnsupportedIterator, name);
    default:
      return false;
  }
}

}  // namespace qx::jinja
