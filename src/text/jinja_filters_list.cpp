// Filters on lists, dicts and other things to iterate over. Those that are generators in Jinja2 are lazy here too:
// they print, count and fail alike.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"
#include "text/jinja_text.h"

namespace qx::jinja {

namespace {

// How a filter reads an attribute of an item: "a.0.b" is a path, an integer an index.
class AttributeGetter {
 public:
  AttributeGetter(Runtime& rt, const Value& attribute, bool ignore_case = false,
                  const Value& fallback = Value())
      : ignore_case_(ignore_case), fallback_(fallback) {
    if (attribute.is_string()) {
      add_path(rt, attribute.text());
    } else if (!attribute.is_none()) {
      parts_.push_back(attribute);
    }
  }

  Value operator()(Runtime& rt, Value item) const {
    for (const Value& part : parts_) {
      item = get_item(rt, item, part);
      if (!fallback_.is_none() && item.is_undefined()) {
        item = fallback_;
      }
    }
    return ignore_case_ && item.is_string() ? lowered(rt, item) : item;
  }

 private:
  void add_path(Runtime& rt, std::string_view path) {
    for (std::size_t pos = 0; pos <= path.size();) {
      const std::size_t end = std::min(path.find('.', pos), path.size());
      const std::string_view part = path.substr(pos, end - pos);
      const bool digits = !part.empty() && std::all_of(part.begin(), part.end(),
                                                       [](char c) { return c >= '0' && c <= '9'; });
      const std::optional<std::int64_t> index = digits ? parse_int(part, 10) : std::nullopt;
      parts_.push_back(index ? Value::integer(*index) : rt.string(part));
      pos = end + 1;
    }
  }
  static Value lowered(Runtime& rt, const Value& item) {
    rt.charge_bytes(3 * item.text().size());
    return rt.string(lower(item.text()));
  }

  bool ignore_case_;
  Value fallback_;
  std::vector<Value> parts_;
};

Value filter_length(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "length", arguments, {});
  const std::optional<std::size_t> size = length(rt, self);
  if (!size) {
    rt.fail("length got '{}', expected a string, list, tuple or dict", type_name(self));
  }
  return Value::size(*size);
}

Value filter_list(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "list", arguments, {});
  return rt.list(collect(rt, self));
}

Value filter_first(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "first", arguments, {});
  const std::optional<Value> item = iterate(rt, self)->next(rt);
  return item ? *item : rt.undefined("first got an empty sequence");
}

Value filter_last(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "last", arguments, {});
  if (self.is(Kind::kIterator)) {
    rt.fail("last got a generator, expected a list (filter it through list first)");
  }
  if (self.is_sequence() || self.is_string() || self.is(Kind::kRange)) {
    const std::size_t size = length(rt, self).value_or(0);
    return size == 0 ? rt.undefined("last got an empty sequence")
                     : get_item(rt, self, Value::integer(-1));
  }
  const std::vector<Value> items = collect(rt, self);
  return items.empty() ? rt.undefined("last got an empty sequence") : items.back();
}

Value filter_join(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, "join", arguments, {{"d", rt.string("")}, {"attribute", Value()}});
  const std::string separator = to_text(rt, args[0]);
  const AttributeGetter getter(rt, args[1]);
  TextBuilder out(rt);
  bool first = true;
  Iterator* source = iterate(rt, self);
  while (const std::optional<Value> item = source->next(rt)) {
    out.append(first ? "" : separator);
    first = false;
    out.append(to_text(rt, getter(rt, *item)));
  }
  return rt.string(out.take());
}

Value filter_reverse(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "reverse", arguments, {});
  if (self.is_string()) {
    rt.charge_bytes(5 * self.text().size());
    std::u32string points = to_points(self.text());
    std::reverse(points.begin(), points.end());
    return rt.string(from_points(points));
  }
  std::vector<Value> items = collect(rt, self);
  std::reverse(items.begin(), items.end());
  const Value list = rt.list(std::move(items));
  // Python's reversed() has no length, but a generator is reversed into a list.
  return self.is(Kind::kIterator) ? list : Value::iterator(iterate(rt, list));
}

Value filter_sum(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, "sum", arguments, {{"attribute", Value()}, {"start", Value::integer(0)}});
  if (args[1].is_string()) {
    rt.fail("sum got a string to start with, expected a number or list");
  }
  const AttributeGetter getter(rt, args[0]);
  Value total = args[1];
  Iterator* source = iterate(rt, self);
  while (const std::optional<Value> item = source->next(rt)) {
    total = arithmetic(rt, Op::kAdd, total, getter(rt, *item));
  }
  return total;
}

template <bool largest>
Value filter_extreme(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, largest ? "max" : "min", arguments,
           {{"case_sensitive", Value::boolean(false)}, {"attribute", Value()}});
  const AttributeGetter getter(rt, args[1], !truthy(rt, args[0]));
  Iterator* source = iterate(rt, self);
  std::optional<Value> best = source->next(rt);
  if (!best) {
    return rt.undefined("min or max got an empty sequence");
  }
  Value best_key = getter(rt, *best);
  while (const std::optional<Value> item = source->next(rt)) {
    const Value key = getter(rt, *item);
    if (largest ? less(rt, best_key, key) : less(rt, key, best_key)) {
      best = item;
      best_key = key;
    }
  }
  return *best;
}

Value filter_sort(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args = bind(rt, "sort", arguments,
                                       {{"reverse", Value::boolean(false)},
                                        {"case_sensitive", Value::boolean(false)},
                                        {"attribute", Value()}});
  const bool ignore_case = !truthy(rt, args[1]);
  std::vector<AttributeGetter> getters;
  if (args[2].is_string()) {
    const std::string_view names = args[2].text();
    for (std::size_t pos = 0; pos <= names.size();) {
      const std::size_t end = std::min(names.find(',', pos), names.size());
      getters.emplace_back(rt, rt.string(names.substr(pos, end - pos)), ignore_case);
      pos = end + 1;
    }
  } else {
    getters.emplace_back(rt, args[2], ignore_case);
  }
  const std::vector<Value> items = collect(rt, self);
  std::vector<Value> keys;
  for (const Value& item : items) {
    std::vector<Value> key;
    for (const AttributeGetter& getter : getters) {
      key.push_back(getter(rt, item));
    }
    keys.push_back(rt.list(std::move(key)));
  }
  return rt.list(sorted(rt, keys, items, truthy(rt, args[0])));
}

Value filter_dictsort(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args = bind(rt, "dictsort", arguments,
                                       {{"case_sensitive", Value::boolean(false)},
                                        {"by", rt.string("key")},
                                        {"reverse", Value::boolean(false)}});
  const std::string by = to_text(rt, args[1]);
  if (by != "key" && by != "value") {
    rt.fail("dictsort got by='{}', expected key or value", by);
  }
  if (self.is_undefined()) {
    rt.fail_text(self.undefined_message());
  }
  if (!self.is(Kind::kDict)) {
    rt.fail("dictsort got '{}', expected a dict", type_name(self));
  }
  const AttributeGetter fold(rt, Value(), !truthy(rt, args[0]));
  std::vector<Value> keys;
  std::vector<Value> items;
  for (const auto& [key, value] : self.as_dict().entries) {
    keys.push_back(fold(rt, by == "key" ? key : value));
    items.push_back(rt.tuple({key, value}));
  }
  return rt.list(sorted(rt, keys, items, truthy(rt, args[2])));
}

Value filter_groupby(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, "groupby", arguments,
           {{"attribute", {}}, {"default", Value()}, {"case_sensitive", Value::boolean(false)}});
  const AttributeGetter fold(rt, args[0], !truthy(rt, args[2]), args[1]);
  const AttributeGetter plain(rt, args[0], false, args[1]);
  const std::vector<Value> items = collect(rt, self);
  std::vector<Value> keys;
  for (const Value& item : items) {
    keys.push_back(fold(rt, item));
  }
  const std::vector<Value> ordered = sorted(rt, keys, items, false);
  std::vector<Value> groups;
  for (std::size_t start = 0; start < ordered.size();) {
    const Value key = fold(rt, ordered[start]);
    std::size_t end = start + 1;
    while (end < ordered.size() && equals(rt, key, fold(rt, ordered[end]))) {
      ++end;
    }
    const auto at = [&](std::size_t i) { return ordered.begin() + static_cast<std::ptrdiff_t>(i); };
    List* group = rt.make<List>(std::vector<Value>{
        plain(rt, ordered[start]), rt.list(std::vector<Value>(at(start), at(end)))});
    group->group = true;
    groups.push_back(Value::tuple(group));
    start = end;
  }
  return rt.list(std::move(groups));
}

Value filter_unique(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args = bind(
      rt, "unique", arguments, {{"case_sensitive", Value::boolean(false)}, {"attribute", Value()}});
  const AttributeGetter getter(rt, args[1], !truthy(rt, args[0]));
  Dict* seen = rt.make<Dict>();
  const auto step = [self, getter, seen, source = static_cast<Iterator*>(nullptr)](
                        Runtime& run) mutable -> std::optional<Value> {
    source = source == nullptr ? iterate(run, self) : source;
    while (const std::optional<Value> item = source->next(run)) {
      const std::size_t before = seen->entries.size();
      dict_set(run, *seen, getter(run, *item), Value());
      if (seen->entries.size() != before) {
        return item;
      }
    }
    return std::nullopt;
  };
  return Value::iterator(generate(rt, step));
}

Value filter_items(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "items", arguments, {});
  const auto step = [self, at = std::size_t{0}](Runtime& run) mutable -> std::optional<Value> {
    if (self.is_undefined()) {
      return std::nullopt;
    }
    if (!self.is(Kind::kDict)) {
      run.fail("items got '{}', expected a dict", type_name(self));
    }
    const Dict& dict = self.as_dict();
    if (at == dict.entries.size()) {
      return std::nullopt;
    }
    const auto& [key, value] = dict.entries[at++];
    return run.tuple({key, value});
  };
  return Value::iterator(generate(rt, step));
}

Value filter_batch(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, "batch", arguments, {{"linecount", {}}, {"fill_with", Value()}});
  const std::int64_t size = int_argument(rt, "batch", args[0]);
  const auto step = [self, size, fill = args[1], source = static_cast<Iterator*>(nullptr)](
                        Runtime& run) mutable -> std::optional<Value> {
    source = source == nullptr ? iterate(run, self) : source;
    std::vector<Value> line;
    while (size < 1 || static_cast<std::int64_t>(line.size()) < size) {
      const std::optional<Value> item = source->next(run);
      if (!item) {
        break;
      }
      run.charge_bytes(sizeof(Value));
      line.push_back(*item);
    }
    if (line.empty()) {
      return std::nullopt;
    }
    while (!fill.is_none() && static_cast<std::int64_t>(line.size()) < size) {
      run.charge_bytes(sizeof(Value));
      line.push_back(fill);
    }
    return run.list(std::move(line));
  };
  return Value::iterator(generate(rt, step));
}

Value filter_slice(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, "slice", arguments, {{"slices", {}}, {"fill_with", Value()}});
  const std::int64_t count = int_argument(rt, "slice", args[0]);
  const auto step = [self, count, fill = args[1], items = std::vector<Value>(), start = false,
                     number = std::int64_t{0},
                     at = std::size_t{0}](Runtime& run) mutable -> std::optional<Value> {
    if (!start) {
      items = collect(run, self);
      start = true;
      if (count == 0) {
        run.fail("slice got 0 slices, expected at least 1");
      }
    }
    if (number >= count) {
      return std::nullopt;
    }
    const auto slices = static_cast<std::size_t>(count);
    const bool longer = static_cast<std::size_t>(number++) < items.size() % slices;
    const std::size_t size = items.size() / slices + (longer ? 1 : 0);
    std::vector<Value> part;
    for (std::size_t i = 0; i < size; ++i) {
      part.push_back(items[at++]);
    }
    if (!fill.is_none() && !longer) {
      part.push_back(fill);
    }
    return run.list(std::move(part));
  };
  return Value::iterator(generate(rt, step));
}

Value filter_attr(Runtime& rt, const Value& self, Arguments& arguments) {
  const Value name = bind(rt, "attr", arguments, {{"name", {}}})[0];
  const std::string_view text = text_argument(rt, "attr", name);
  if (self.is(Kind::kDict)) {
    // An attribute in Python's sense only, never an item: look it up on an empty dict.
    return get_attribute(rt, make_dict(rt, {}), text);
  }
  return get_attribute(rt, self, text);
}

// --- map, select and their kin

Value call_named(Runtime& rt, Native (*find)(std::string_view), std::string_view what,
                 const Value& name, const Value& item, const Arguments& arguments) {
  const Native function = name.is_string() ? find(name.text()) : nullptr;
  if (function == nullptr) {
    rt.fail("got {} '{}', expected a known one", what, to_text(rt, name));
  }
  Arguments copy = arguments;
  return function(rt, item, copy);
}

Value filter_map(Runtime& rt, const Value& self, Arguments& arguments) {
  rt.charge_bytes((arguments.positional.size() + 2 * arguments.keywords.size()) * sizeof(Value));
  const auto step = [self, arguments, source = static_cast<Iterator*>(nullptr),
                     by_attribute = false, getter = std::optional<AttributeGetter>(),
                     filter = Value()](Runtime& run) mutable -> std::optional<Value> {
    if (source == nullptr) {
      if (!truthy(run, self)) {
        return std::nullopt;
      }
      const auto& keywords = arguments.keywords;
      by_attribute = arguments.positional.empty() &&
                     std::any_of(keywords.begin(), keywords.end(),
                                 [](const auto& k) { return k.first == "attribute"; });
      if (by_attribute) {
        const std::vector<Value> args =
            bind(run, "map", arguments, {{"attribute", {}}, {"default", Value()}});
        getter.emplace(run, args[0], false, args[1]);
      } else if (arguments.positional.empty()) {
        run.fail("map got no arguments, expected a filter or attribute=");
      } else {
        filter = arguments.positional[0];
        arguments.positional.erase(arguments.positional.begin());
      }
      source = iterate(run, self);
    }
    const std::optional<Value> item = source->next(run);
    if (!item) {
      return std::nullopt;
    }
    return by_attribute ? (*getter)(run, *item)
                        : call_named(run, find_filter, "filter", filter, *item, arguments);
  };
  return Value::iterator(generate(rt, step));
}

// keep: whether items that pass the test stay. by_attribute: the first argument names what is tested.
template <bool keep, bool by_attribute>
Value filter_select(Runtime& rt, const Value& self, Arguments& arguments) {
  rt.charge_bytes((arguments.positional.size() + 2 * arguments.keywords.size()) * sizeof(Value));
  const auto step = [self, arguments, source = static_cast<Iterator*>(nullptr),
                     getter = std::optional<AttributeGetter>(),
                     test = std::optional<Value>()](Runtime& run) mutable -> std::optional<Value> {
    if (source == nullptr) {
      if (!truthy(run, self)) {
        return std::nullopt;
      }
      std::vector<Value>& args = arguments.positional;
      if (by_attribute) {
        if (args.empty()) {
          run.fail("selectattr or rejectattr got no attribute, expected its name");
        }
        getter.emplace(run, args[0]);
        args.erase(args.begin());
      }
      if (!args.empty()) {
        test = args[0];
        args.erase(args.begin());
      }
      source = iterate(run, self);
    }
    while (const std::optional<Value> item = source->next(run)) {
      const Value value = getter ? (*getter)(run, *item) : *item;
      const Value verdict =
          test ? call_named(run, find_test, "test", *test, value, arguments) : value;
      if (truthy(run, verdict) == keep) {
        return item;
      }
    }
    return std::nullopt;
  };
  return Value::iterator(generate(rt, step));
}

constexpr NativeEntry kListFilters[] = {
    {"attr", filter_attr},
    {"batch", filter_batch},
    {"count", filter_length},
    {"dictsort", filter_dictsort},
    {"first", filter_first},
    {"groupby", filter_groupby},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"map", filter_map},
    {"max", filter_extreme<true>},
    {"min", filter_extreme<false>},
    {"reject", filter_select<false, false>},
    {"rejectattr", filter_select<false, true>},
    {"reverse", filter_reverse},
    {"select", filter_select<true, false>},
    {"selectattr", filter_select<true, true>},
    {"slice", filter_slice},
    {"sort", filter_sort},
    {"sum", filter_sum},
    {"unique", filter_unique},
};

}  // namespace

Native find_list_filter(std::string_view name) {
  for (const NativeEntry& entry : kListFilters) {
    if (entry.name == name) {
      return entry.function;
    }
  }
  return nullptr;
}

}  // namespace qx::jinja
