// The values of the template engine: what Python's None, bool, int, float, str, list, tuple, dict,
// range, the iterators and callables are in Jinja2. Plain data; operations are in jinja_ops.h.
//
// Ownership: a Value is a small handle. Objects belong to the Runtime (jinja_runtime.h) or the
// parsed template that made them and live as long as it: cycles and deep nesting cost nothing when
// they go.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace qx::jinja {

class Runtime;
class Value;

struct Object {
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;
};

// Valid UTF-8. `markup` is what the filters safe and escape mark: text that + does not escape.
struct Str final : Object {
  Str(std::string the_text, bool is_markup);
  const std::string text;
  const std::size_t points;  // code points
  const bool markup;
};

struct List;
struct Dict;
struct Range;
struct View;
struct Iterator;
struct Special;

enum class Kind : std::uint8_t {
  kUndefined,  // object: Str with the message of the error that using it raises
  kNone,
  kBool,
  kInt,  // 64 bits; what does not fit is an error, not a big integer
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kRange,
  kView,      // of a dict: keys, values or items
  kIterator,  // one pass, as a Python generator
  kSpecial,   // namespaces, callables, loop
};

class Value {
 public:
  Value() : kind_(Kind::kNone), int_(0) {}
  static Value boolean(bool b) { return Value(Kind::kBool, std::int64_t{b}); }
  static Value integer(std::int64_t i) { return Value(Kind::kInt, i); }
  static Value size(std::size_t n) { return integer(static_cast<std::int64_t>(n)); }
  static Value real(double f);
  static Value undefined(Str* message);
  static Value string(Str* s);
  static Value list(List* l);
  static Value tuple(List* l);
  static Value dict(Dict* d);
  static Value range(Range* r);
  static Value view(View* v);
  static Value iterator(Iterator* i);
  static Value special(Special* s);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_number() const { return is(Kind::kBool) || is(Kind::kInt) || is(Kind::kFloat); }
  bool is_integral() const { return is(Kind::kBool) || is(Kind::kInt); }  // Python: has __index__
  bool is_sequence() const { return is(Kind::kList) || is(Kind::kTuple); }
  bool is_undefined() const { return is(Kind::kUndefined); }
  bool is_none() const { return is(Kind::kNone); }
  bool is_string() const { return is(Kind::kString); }

  // Each expects its kind.
  bool as_bool() const { return int_ != 0; }
  std::int64_t as_int() const { return int_; }  // also of a bool
  double as_float() const { return float_; }
  double as_number() const { return is(Kind::kFloat) ? float_ : static_cast<double>(int_); }
  const Str& as_str() const { return *static_cast<const Str*>(object_); }
  std::string_view text() const { return as_str().text; }
  const List& as_list() const;  // also of a tuple
  const std::vector<Value>& items() const;
  const Dict& as_dict() const;
  const Range& as_range() const;
  const View& as_view() const;
  Iterator& as_iterator() const;
  Special& as_special() const;
  const void* identity() const { return object_; }
  std::string_view undefined_message() const;

 private:
  Value(Kind kind, std::int64_t i) : kind_(kind), int_(i) {}
  Value(Kind kind, Object* object) : kind_(kind), object_(object) {}

  Kind kind_;
  union {
    std::int64_t int_;
    double float_;
    Object* object_;
  };
};

struct List final : Object {
  explicit List(std::vector<Value> the_items) : items(std::move(the_items)) {}
  const std::vector<Value> items;
  bool group = false;  // a tuple that groupby made: has the attributes grouper and list
};

// Insertion order; keys compare as in Python (1 == 1.0 == true). Filled by the Runtime, then
// constant.
struct Dict final : Object {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_multimap<std::size_t, std::size_t>
      index;  // hash of key -> entry, from kIndexFrom entries
  static constexpr std::size_t kIndexFrom = 9;
};

struct Range final : Object {
  Range(std::int64_t the_start, std::int64_t the_stop, std::int64_t the_step,
        std::int64_t the_count)
      : start(the_start), stop(the_stop), step(the_step), count(the_count) {}
  const std::int64_t start, stop, step, count;
};

struct View final : Object {
  View(std::string_view the_name, std::vector<Value> the_items)
      : name(the_name), items(std::move(the_items)) {}
  const std::string_view name;  // dict_keys, dict_values or dict_items
  const std::vector<Value> items;
};

struct Iterator : Object {
  // The next item; nothing at the end.
  virtual std::optional<Value> next(Runtime& runtime) = 0;
};

// Arguments of a call. The names live as long as the template or the Runtime.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> keywords;
};

struct Special : Object {
  virtual std::optional<Value> attribute(Runtime& runtime, std::string_view name);
  virtual std::optional<Value> call(Runtime& runtime,
                                    Arguments& arguments);  // nothing: not callable
  virtual bool callable() const { return false; }
  virtual std::optional<std::size_t> length(Runtime& runtime);
  virtual std::string repr(Runtime& runtime) = 0;
};

// A function of the engine: a global, or a method bound to `self`.
using Native = Value (*)(Runtime& runtime, const Value& self, Arguments& arguments);
struct NativeEntry {
  std::string_view name;
  Native function;
};

inline Value Value::undefined(Str* message) {
  return Value(Kind::kUndefined, message);
}
inline Value Value::string(Str* s) {
  return Value(Kind::kString, s);
}
inline Value Value::list(List* l) {
  return Value(Kind::kList, l);
}
inline Value Value::tuple(List* l) {
  return Value(Kind::kTuple, l);
}
inline Value Value::dict(Dict* d) {
  return Value(Kind::kDict, d);
}
inline Value Value::range(Range* r) {
  return Value(Kind::kRange, r);
}
inline Value Value::view(View* v) {
  return Value(Kind::kView, v);
}
inline Value Value::iterator(Iterator* i) {
  return Value(Kind::kIterator, i);
}
inline Value Value::special(Special* s) {
  return Value(Kind::kSpecial, s);
}
inline const List& Value::as_list() const {
  return *static_cast<List*>(object_);
}
inline const std::vector<Value>& Value::items() const {
  return as_list().items;
}
inline const Dict& Value::as_dict() const {
  return *static_cast<const Dict*>(object_);
}
inline const Range& Value::as_range() const {
  return *static_cast<const Range*>(object_);
}
inline Iterator& Value::as_iterator() const {
  return *static_cast<Iterator*>(object_);
}
inline Special& Value::as_special() const {
  return *static_cast<Special*>(object_);
}
inline const View& Value::as_view() const {
  return *static_cast<const View*>(object_);
}

}  // namespace qx::jinja
