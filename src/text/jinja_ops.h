// What Python's operators and built-in functions do with the template engine's values, with Jinja2's rules for
// undefined values and for attributes.
// All fail with Error where Python or Jinja2 raises, and charge the Runtime for their work.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_runtime.h"
#include "text/jinja_value.h"

namespace qx::jinja {

enum class Op {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kPow,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kIn,
  kNotIn,
};

// --- jinja_ops.cpp: operators
bool truthy(Runtime& rt, const Value& value);
bool equals(Runtime& rt, const Value& a, const Value& b);
bool same(const Value& a, const Value& b);  // Python's `is`, as far as it is defined
bool less(Runtime& rt, const Value& a, const Value& b);
bool compare(Runtime& rt, Op op, const Value& a, const Value& b);  // kEq to kNotIn
bool contains(Runtime& rt, const Value& container, const Value& item);
Value arithmetic(Runtime& rt, Op op, const Value& a, const Value& b);  // kAdd to kPow
Value negate(Runtime& rt, const Value& value);
Value plus(Runtime& rt, const Value& value);
// Stable; by a Python-like "<" of the keys. keys and items have one length.
std::vector<Value> sorted(Runtime& rt, const std::vector<Value>& keys,
                          const std::vector<Value>& items, bool reverse);

// --- jinja_access.cpp: attributes, items, iteration, calls, dicts
std::string_view type_name(const Value& value);
Value get_attribute(Runtime& rt, const Value& object, std::string_view name);  // x.name
Value get_item(Runtime& rt, const Value& object, const Value& key);            // x[key]
// x[start:stop:step]; None stands for an absent bound.
Value get_slice(Runtime& rt, const Value& object, const Value& start, const Value& stop,
                const Value& step);
std::optional<std::size_t> length(Runtime& rt, const Value& value);  // nothing: has no len()
bool iterable(const Value& value);
Iterator* iterate(Runtime& rt, const Value& value);
Iterator* generate(Runtime& rt, std::function<std::optional<Value>(Runtime&)> step);
std::vector<Value> collect(Runtime& rt, const Value& value);
Value call(Runtime& rt, const Value& callee, Arguments& arguments);
Value make_dict(Runtime& rt, std::vector<std::pair<Value, Value>> entries);
void dict_set(Runtime& rt, Dict& dict, const Value& key, const Value& value);
const Value* dict_find(Runtime& rt, const Dict& dict, const Value& key);
const Value* dict_find(Runtime& rt, const Dict& dict, std::string_view key);
bool hashable(Runtime& rt, const Value& value);

// --- jinja_repr.cpp
std::string to_text(Runtime& rt, const Value& value);  // str()
std::string repr(Runtime& rt, const Value& value);
std::string escape_html(Runtime& rt, std::string_view text);

// --- arguments of a function, jinja_arguments.cpp
struct Parameter {
  std::string_view name;
  std::optional<Value> fallback;  // nothing: required
};
// The parameters' values in order. Fails: missing, unexpected or doubled arguments.
std::vector<Value> bind(Runtime& rt, std::string_view function, const Arguments& arguments,
                        std::initializer_list<Parameter> parameters);
std::int64_t int_argument(Runtime& rt, std::string_view function, const Value& value);
std::string_view text_argument(Runtime& rt, std::string_view function, const Value& value);

}  // namespace qx::jinja
