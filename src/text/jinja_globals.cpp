// Global functions of templates: range, dict, namespace, cycler, joiner, raise_exception, strftime_now.
// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"
#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"

namespace qx::jinja {

std::optional<Value> Namespace::attribute(Runtime& rt, std::string_view name) {
  const Value* value = dict_find(rt, attributes, name);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::string Namespace::repr(Runtime& rt) {
  return "<Namespace " + jinja::repr(rt, Value::dict(&attributes)) + ">";
}

void Namespace::set(Runtime& rt, const Value& name, const Value& value) {
  if (name.is_string() && name.text().starts_with("_")) {
    rt.fail("got attribute '{}' for a namespace, expected a name without leading underscore",
            name.text());
  }
  dict_set(rt, attributes, name, value);
}

namespace {

// The entries that dict(...) makes of one mapping or iterable of pairs, and of keywords.
std::vector<std::pair<Value, Value>> dict_entries(Runtime& rt, const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> entries;
  if (arguments.positional.size() > 1) {
    rt.fail("dict() got {} arguments, expected at most 1", arguments.positional.size());
  }
  for (const Value& source : arguments.positional) {
    if (source.is(Kind::kDict)) {
      const Dict& dict = source.as_dict();
      rt.charge_bytes(dict.entries.size() * 2 * sizeof(Value));
      entries = dict.entries;
      continue;
    }
    for (const Value& item : collect(rt, source)) {
      const std::vector<Value> pair = collect(rt, item);
      if (pair.size() != 2) {
        rt.fail("dict() got an item of {} parts, expected key and value", pair.size());
      }
      entries.emplace_back(pair[0], pair[1]);
    }
  }
  for (const auto& [name, value] : arguments.keywords) {
    entries.emplace_back(rt.string(name), value);
  }
  return entries;
}

Value global_dict(Runtime& rt, const Value&, Arguments& arguments) {
  return make_dict(rt, dict_entries(rt, arguments));
}

Value global_namespace(Runtime& rt, const Value&, Arguments& arguments) {
  Namespace* result = rt.make<Namespace>();
  for (const auto& [name, value] : dict_entries(rt, arguments)) {
    result->set(rt, name, value);
  }
  return Value::special(result);
}

Value global_range(Runtime& rt, const Value&, Arguments& arguments) {
  const std::vector<Value>& args = arguments.positional;
  if (args.empty() || args.size() > 3 || !arguments.keywords.empty()) {
    rt.fail("range() got {} arguments, expected 1 to 3", args.size());
  }
  for (const Value& argument : args) {
    int_argument(rt, "range", argument);
  }
  const std::int64_t start = args.size() == 1 ? 0 : args[0].as_int();
  const std::int64_t stop = args.size() == 1 ? args[0].as_int() : args[1].as_int();
  return rt.range(start, stop, args.size() == 3 ? args[2].as_int() : 1);
}

Value global_raise(Runtime& rt, const Value&, Arguments& arguments) {
  const Value message = bind(rt, "raise_exception", arguments, {{"message", {}}})[0];
  rt.fail("the template refuses: {}", to_text(rt, message));
}

Value global_strftime(Runtime& rt, const Value&, Arguments& arguments) {
  const Value format = bind(rt, "strftime_now", arguments, {{"format", {}}})[0];
  const std::string_view text = text_argument(rt, "strftime_now", format);
  rt.charge_bytes(32 * text.size());  // no directive gives more
  return rt.string(format_date(kTemplateDate, text));
}

struct Cycler final : Special {
  explicit Cycler(std::vector<Value> the_items) : items(std::move(the_items)) {}
  std::optional<Value> attribute(Runtime& rt, std::string_view name) override {
    if (name == "current") {
      return items[at];
    }
    if (name == "next") {
      return rt.function("next", next, Value::special(this));
    }
    if (name == "reset") {
      return rt.function("reset", reset, Value::special(this));
    }
    return std::nullopt;
  }
  std::string repr(Runtime&) override { return "<Cycler>"; }

  static Value next(Runtime& rt, const Value& self, Arguments& arguments) {
    bind(rt, "next", arguments, {});
    auto& cycler = static_cast<Cycler&>(self.as_special());
    const Value item = cycler.items[cycler.at];
    cycler.at = (cycler.at + 1) % cycler.items.size();
    return item;
  }
  static Value reset(Runtime& rt, const Value& self, Arguments& arguments) {
    bind(rt, "reset", arguments, {});
    static_cast<Cycler&>(self.as_special()).at = 0;
    return Value();
  }

  const std::vector<Value> items;
  std::size_t at = 0;
};

Value global_cycler(Runtime& rt, const Value&, Arguments& arguments) {
  if (arguments.positional.empty() || !arguments.keywords.empty()) {
    rt.fail("cycler() got no items, expected at least one");
  }
  return Value::special(rt.make<Cycler>(arguments.positional));
}

struct Joiner final : Special {
  explicit Joiner(const Value& the_separator) : separator(the_separator) {}
  std::optional<Value> call(Runtime& rt, Arguments& arguments) override {
    bind(rt, "joiner", arguments, {});
    const bool first = !used;
    used = true;
    return first ? rt.string("") : separator;
  }
  bool callable() const override { return true; }
  std::string repr(Runtime&) override { return "<Joiner>"; }

  const Value separator;
  bool used = false;
};

Value global_joiner(Runtime& rt, const Value&, Arguments& arguments) {
  return Value::special(
      rt.make<Joiner>(bind(rt, "joiner", arguments, {{"sep", rt.string(", ")}})[0]));
}

constexpr NativeEntry kGlobals[] = {
    {"cycler", global_cycler},         {"dict", global_dict},
    {"joiner", global_joiner},         {"namespace", global_namespace},
    {"raise_exception", global_raise}, {"range", global_range},
    {"strftime_now", global_strftime},
};

}  // namespace

Native find_global(std::string_view name) {
  for (const NativeEntry& entry : kGlobals) {
    if (entry.name == name) {
      return entry.function;
    }
  }
  return nullptr;
}

}  // namespace qx::jinja
