// Attributes, items, slices, iteration, calls and dicts (jinja_ops.h).
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "text/jinja_methods.h"
#include "text/jinja_ops.h"
#include "text/jinja_text.h"

namespace qx::jinja {

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kRange:
      return "range";
    case Kind::kView:
      return value.as_view().name;
    case Kind::kIterator:
      return "generator";
    case Kind::kSpecial:
      return "object";
  }
  return "object";
}

namespace {

// The attribute as Python's getattr() finds it, without looking at items.
std::optional<Value> python_attribute(Runtime& rt, const Value& object, std::string_view name) {
  if (object.is(Kind::kSpecial)) {
    return object.as_special().attribute(rt, name);
  }
  if (object.is(Kind::kTuple) && object.as_list().group && (name == "grouper" || name == "list")) {
    return object.items()[name == "grouper" ? 0 : 1];
  }
  if (object.is(Kind::kRange) && (name == "start" || name == "stop" || name == "step")) {
    const Range& range = object.as_range();
    return Value::integer(name == "start" ? range.start : name == "stop" ? range.stop : range.step);
  }
  if (const Native method = find_method(object.kind(), name)) {
    return rt.function(name, method, object);
  }
  if (is_mutator(object.kind(), name)) {
    return rt.undefined(fmt::format(
        "access to '{}' of a '{}' changes it, which the sandbox forbids", name, type_name(object)));
  }
  if (is_unsupported_method(object.kind(), name)) {
    rt.fail("got method '{}' of '{}', expected a supported one (docs/chat.md)", name,
            type_name(object));
  }
  return std::nullopt;
}

Value missing(Runtime& rt, const Value& object, const Value& key) {
  return rt.undefined(fmt::format("'{}' has no {} {}", type_name(object),
                                  key.is_string() ? "attribute" : "element", repr(rt, key)));
}

Value item_of_sequence(Runtime& rt, const Value& object, std::int64_t index, bool& found) {
  const auto count = static_cast<std::int64_t>(length(rt, object).value_or(0));
  const std::int64_t at = index < 0 ? index + count : index;
  found = at >= 0 && at < count;
  if (!found) {
    return Value();
  }
  if (object.is(Kind::kRange)) {
    return Value::integer(object.as_range().start + at * object.as_range().step);
  }
  if (!object.is_string()) {
    return object.items()[at];
  }
  const std::string_view text = object.text();
  if (object.as_str().points == text.size()) {
    return rt.string(text.substr(at, 1));
  }
  rt.charge_text(text.size());
  const std::size_t start = byte_offset(text, at);
  std::size_t end = start;
  next_point(text, end);
  return rt.string(text.substr(start, end - start));
}

}  // namespace

Value get_attribute(Runtime& rt, const Value& object, std::string_view name) {
  rt.charge(1);
  if (object.is_undefined()) {
    rt.fail_text(object.undefined_message());
  }
  if (const std::optional<Value> value = python_attribute(rt, object, name)) {
    return *value;
  }
  if (object.is(Kind::kDict)) {
    if (const Value* value = dict_find(rt, object.as_dict(), name)) {
      return *value;
    }
  }
  return rt.undefined(fmt::format("'{}' has no attribute '{}'", type_name(object), name));
}

Value get_item(Runtime& rt, const Value& object, const Value& key) {
  rt.charge(1);
  switch (object.kind()) {
    case Kind::kUndefined:
      rt.fail_text(object.undefined_message());
    case Kind::kDict:
      if (hashable(rt, key)) {
        if (const Value* value = dict_find(rt, object.as_dict(), key)) {
          return *value;
        }
      }
      break;
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      if (key.is_integral()) {
        bool found = false;
        const Value value = item_of_sequence(rt, object, key.as_int(), found);
        if (found) {
          return value;
        }
      }
      break;
    default:
      break;
  }
  if (key.is_string()) {
    if (const std::optional<Value> value = python_attribute(rt, object, key.text())) {
      return *value;
    }
  }
  return missing(rt, object, key);
}

namespace {

struct SliceRange {
  std::int64_t start, step;
  std::size_t count;
};

SliceRange resolve_slice(Runtime& rt, std::int64_t size, const Value& start, const Value& stop,
                         const Value& step) {
  const auto bound = [&](const Value& value, std::int64_t fallback) {
    if (value.is_none()) {
      return fallback;
    }
    if (!value.is_integral()) {
      rt.fail("got a slice bound of type '{}', expected an integer or none", type_name(value));
    }
    return value.as_int();
  };
  const std::int64_t stride = bound(step, 1);
  if (stride == 0) {
    rt.fail("got slice step 0, expected another");
  }
  const std::int64_t low = stride > 0 ? 0 : -1;
  const std::int64_t high = stride > 0 ? size : size - 1;
  const auto clamp = [&](const Value& value, std::int64_t fallback) {
    if (value.is_none()) {
      return fallback;
    }
    const std::int64_t at = bound(value, 0);
    return std::clamp(at < 0 ? at + size : at, low, high);
  };
  const std::int64_t first = clamp(start, stride > 0 ? low : high);
  const std::int64_t last = clamp(stop, stride > 0 ? high : low);
  // In unsigned arithmetic, as the step may be the smallest integer.
  std::uint64_t count = 0;
  if (stride > 0 && first < last) {
    count = static_cast<std::uint64_t>(last - first - 1) / static_cast<std::uint64_t>(stride) + 1;
  } else if (stride < 0 && first > last) {
    count = static_cast<std::uint64_t>(first - last - 1) /
                (std::uint64_t{0} - static_cast<std::uint64_t>(stride)) +
            1;
  }
  return {count > 0 ? first : 0, count > 1 ? stride : 0, count};
}

}  // namespace

Value get_slice(Runtime& rt, const Value& object, const Value& start, const Value& stop,
                const Value& step) {
  if (object.is_undefined()) {
    rt.fail_text(object.undefined_message());
  }
  if (!object.is_string() && !object.is_sequence() && !object.is(Kind::kRange)) {
    rt.fail("got a slice of '{}', expected a string, list or tuple", type_name(object));
  }
  const auto size = static_cast<std::int64_t>(length(rt, object).value_or(0));
  const SliceRange slice = resolve_slice(rt, size, start, stop, step);
  rt.charge(1 + slice.count / 16);
  if (object.is(Kind::kRange)) {
    const Range& range = object.as_range();
    const std::int64_t first = range.start + slice.start * range.step;
    const std::int64_t stride = slice.count > 1 ? slice.step * range.step : std::int64_t{1};
    const auto count = static_cast<std::int64_t>(slice.count);
    std::int64_t end = first;  // only shown, never computed with: 0 where it does not fit
    if (__builtin_mul_overflow(stride, count, &end) || __builtin_add_overflow(end, first, &end)) {
      end = 0;
    }
    return Value::range(rt.make<Range>(first, end, stride, count));
  }
  if (object.is_string()) {
    const std::string_view text = object.text();
    rt.charge_text(text.size());
    if (object.as_str().points == text.size() && slice.step >= 0 && slice.step <= 1) {
      return rt.string(text.substr(slice.start, slice.count));
    }
    rt.charge_bytes(text.size() * sizeof(char32_t));
    const std::u32string points = to_points(text);
    std::string out;
    for (std::size_t i = 0; i < slice.count; ++i) {
      append_point(out, points[slice.start + static_cast<std::int64_t>(i) * slice.step]);
    }
    return rt.string(std::move(out));
  }
  std::vector<Value> items;
  items.reserve(slice.count);
  for (std::size_t i = 0; i < slice.count; ++i) {
    items.push_back(object.items()[slice.start + static_cast<std::int64_t>(i) * slice.step]);
  }
  return object.is(Kind::kList) ? rt.list(std::move(items)) : rt.tuple(std::move(items));
}

std::optional<std::size_t> length(Runtime& rt, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return value.as_str().points;
    case Kind::kList:
    case Kind::kTuple:
      return value.items().size();
    case Kind::kDict:
      return value.as_dict().entries.size();
    case Kind::kRange:
      return value.as_range().count;
    case Kind::kView:
      return value.as_view().items.size();
    case Kind::kSpecial:
      return value.as_special().length(rt);
    default:
      return std::nullopt;
  }
}

bool iterable(const Value& value) {
  switch (value.kind()) {
    case Kind::kNone:
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
    case Kind::kSpecial:
      return false;
    default:
      return true;
  }
}

namespace {

struct ItemsIterator final : Iterator {
  explicit ItemsIterator(const std::vector<Value>& the_items) : items(the_items) {}
  std::optional<Value> next(Runtime& rt) override {
    rt.charge(1);
    return at < items.size() ? std::optional(items[at++]) : std::nullopt;
  }
  const std::vector<Value>& items;
  std::size_t at = 0;
};

struct KeysIterator final : Iterator {
  explicit KeysIterator(const Dict& the_dict) : dict(the_dict) {}
  std::optional<Value> next(Runtime& rt) override {
    rt.charge(1);
    return at < dict.entries.size() ? std::optional(dict.entries[at++].first) : std::nullopt;
  }
  const Dict& dict;
  std::size_t at = 0;
};

struct TextIterator final : Iterator {
  explicit TextIterator(std::string_view the_text) : text(the_text) {}
  std::optional<Value> next(Runtime& rt) override {
    rt.charge(1);
    if (at >= text.size()) {
      return std::nullopt;
    }
    const std::size_t start = at;
    next_point(text, at);
    return rt.string(text.substr(start, at - start));
  }
  const std::string_view text;
  std::size_t at = 0;
};

struct RangeIterator final : Iterator {
  explicit RangeIterator(const Range& the_range) : range(the_range) {}
  std::optional<Value> next(Runtime& rt) override {
    rt.charge(1);
    if (at >= range.count) {
      return std::nullopt;
    }
    return Value::integer(range.start + range.step * at++);
  }
  const Range& range;
  std::int64_t at = 0;
};

struct EmptyIterator final : Iterator {
  std::optional<Value> next(Runtime&) override { return std::nullopt; }
};

struct Generator final : Iterator {
  explicit Generator(std::function<std::optional<Value>(Runtime&)> the_step)
      : step(std::move(the_step)) {}
  std::optional<Value> next(Runtime& rt) override {
    const Runtime::Level level(rt);
    rt.charge(1);
    std::optional<Value> value;
    if (!done) {
      value = step(rt);
      done = !value;
    }
    return value;
  }
  const std::function<std::optional<Value>(Runtime&)> step;
  bool done = false;
};

}  // namespace

Iterator* iterate(Runtime& rt, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return rt.make<EmptyIterator>();
    case Kind::kString:
      return rt.make<TextIterator>(value.text());
    case Kind::kList:
    case Kind::kTuple:
      return rt.make<ItemsIterator>(value.items());
    case Kind::kView:
      return rt.make<ItemsIterator>(value.as_view().items);
    case Kind::kDict:
      return rt.make<KeysIterator>(value.as_dict());
    case Kind::kRange:
      return rt.make<RangeIterator>(value.as_range());
    case Kind::kIterator:
      return &value.as_iterator();
    default:
      rt.fail("got '{}' to iterate over, expected a list, string, dict or range", type_name(value));
  }
}

Iterator* generate(Runtime& rt, std::function<std::optional<Value>(Runtime&)> step) {
  return rt.make<Generator>(std::move(step));
}

std::vector<Value> collect(Runtime& rt, const Value& value) {
  std::vector<Value> items;
  Iterator* source = iterate(rt, value);
  while (const std::optional<Value> item = source->next(rt)) {
    rt.charge_bytes(sizeof(Value));
    items.push_back(*item);
  }
  return items;
}

Value call(Runtime& rt, const Value& callee, Arguments& arguments) {
  if (callee.is_undefined()) {
    rt.fail_text(callee.undefined_message());
  }
  if (callee.is(Kind::kSpecial)) {
    if (const std::optional<Value> result = callee.as_special().call(rt, arguments)) {
      return *result;
    }
  }
  rt.fail("got a call of '{}', expected something that can be called", type_name(callee));
}

bool hashable(Runtime& rt, const Value& value) {
  const Runtime::Level level(rt);
  rt.charge(1);
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kDict:
    case Kind::kView:
      return false;
    case Kind::kTuple:
      return std::all_of(value.items().begin(), value.items().end(),
                         [&](const Value& item) { return hashable(rt, item); });
    default:
      return true;
  }
}

namespace {

std::size_t hash_value(Runtime& rt, const Value& value) {
  const Runtime::Level level(rt);
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return static_cast<std::size_t>(value.kind());
    case Kind::kBool:
    case Kind::kInt:
      return std::hash<std::int64_t>()(value.as_int());
    case Kind::kFloat: {
      const double f = value.as_float();
      const bool whole = f == std::trunc(f) && f >= -0x1p63 && f < 0x1p63;
      return whole ? std::hash<std::int64_t>()(static_cast<std::int64_t>(f))
                   : std::hash<double>()(f);
    }
    case Kind::kString:
      rt.charge_text(value.text().size());
      return std::hash<std::string_view>()(value.text());
    case Kind::kTuple: {
      std::size_t hash = value.items().size();
      for (const Value& item : value.items()) {
        rt.charge(1);
        hash = hash * 1000003 + hash_value(rt, item);
      }
      return hash;
    }
    case Kind::kRange:
      return static_cast<std::size_t>(value.as_range().count);
    default:
      return std::hash<const void*>()(value.identity());
  }
}

const std::pair<Value, Value>* find_entry(Runtime& rt, const Dict& dict, const Value& key) {
  const auto matches = [&](const Value& candidate) {
    return same(candidate, key) || equals(rt, candidate, key);
  };
  if (dict.entries.size() < Dict::kIndexFrom) {
    for (const auto& entry : dict.entries) {
      if (matches(entry.first)) {
        return &entry;
      }
    }
    return nullptr;
  }
  const auto [begin, end] = dict.index.equal_range(hash_value(rt, key));
  for (auto it = begin; it != end; ++it) {
    if (matches(dict.entries[it->second].first)) {
      return &dict.entries[it->second];
    }
  }
  return nullptr;
}

}  // namespace

const Value* dict_find(Runtime& rt, const Dict& dict, const Value& key) {
  const auto* entry = find_entry(rt, dict, key);
  return entry == nullptr ? nullptr : &entry->second;
}

const Value* dict_find(Runtime& rt, const Dict& dict, std::string_view key) {
  const auto matches = [&](const Value& candidate) {
    return candidate.is_string() && candidate.text() == key;
  };
  rt.charge_text(key.size());
  if (dict.entries.size() < Dict::kIndexFrom) {
    for (const auto& entry : dict.entries) {
      if (matches(entry.first)) {
        return &entry.second;
      }
    }
    return nullptr;
  }
  const auto [begin, end] = dict.index.equal_range(std::hash<std::string_view>()(key));
  for (auto it = begin; it != end; ++it) {
    rt.charge(1);
    if (matches(dict.entries[it->second].first)) {
      return &dict.entries[it->second].second;
    }
  }
  return nullptr;
}

void dict_set(Runtime& rt, Dict& dict, const Value& key, const Value& value) {
  if (!hashable(rt, key)) {
    rt.fail("got a key of type '{}', expected one that can be hashed", type_name(key));
  }
  if (const auto* entry = find_entry(rt, dict, key)) {
    dict.entries[entry - dict.entries.data()].second = value;
    return;
  }
  rt.charge_bytes(2 * sizeof(Value) + 64);
  dict.entries.emplace_back(key, value);
  const std::size_t count = dict.entries.size();
  if (count == Dict::kIndexFrom) {
    for (std::size_t i = 0; i < count; ++i) {
      dict.index.emplace(hash_value(rt, dict.entries[i].first), i);
    }
  } else if (count > Dict::kIndexFrom) {
    dict.index.emplace(hash_value(rt, key), count - 1);
  }
}

Value make_dict(Runtime& rt, std::vector<std::pair<Value, Value>> entries) {
  Dict* dict = rt.make<Dict>();
  for (const auto& [key, value] : entries) {
    dict_set(rt, *dict, key, value);
  }
  return Value::dict(dict);
}

}  // namespace qx::jinja
