// Tests: what stands behind "is" in an expression.
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"
#include "text/jinja_text.h"

namespace qx::jinja {

namespace {

template <bool (*predicate)(const Value&)>
Value simple(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "this test", arguments, {});
  return Value::boolean(predicate(self));
}

bool is_defined(const Value& v) {
  return !v.is_undefined();
}
bool is_undefined(const Value& v) {
  return v.is_undefined();
}
bool is_none(const Value& v) {
  return v.is_none();
}
bool is_boolean(const Value& v) {
  return v.is(Kind::kBool);
}
bool is_true(const Value& v) {
  return v.is(Kind::kBool) && v.as_bool();
}
bool is_false(const Value& v) {
  return v.is(Kind::kBool) && !v.as_bool();
}
bool is_integer(const Value& v) {
  return v.is(Kind::kInt);
}
bool is_float(const Value& v) {
  return v.is(Kind::kFloat);
}
bool is_number(const Value& v) {
  return v.is_number();
}
bool is_string(const Value& v) {
  return v.is_string();
}
bool is_mapping(const Value& v) {
  return v.is(Kind::kDict);
}
bool is_iterable(const Value& v) {
  return iterable(v);
}
bool is_escaped(const Value& v) {
  return v.is_string() && v.as_str().markup;
}

bool is_callable(const Value& v) {
  return v.is_undefined() || (v.is(Kind::kSpecial) && v.as_special().callable());
}

bool is_sequence(const Value& v) {
  return v.is_sequence() || v.is_string() || v.is(Kind::kDict) || v.is(Kind::kRange) ||
         v.is_undefined();
}

Value divisible(Runtime& rt, const Value& self, const Value& by, std::int64_t rest) {
  return Value::boolean(equals(rt, arithmetic(rt, Op::kMod, self, by), Value::integer(rest)));
}

Value test_odd(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "odd", arguments, {});
  return divisible(rt, self, Value::integer(2), 1);
}

Value test_even(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "even", arguments, {});
  return divisible(rt, self, Value::integer(2), 0);
}

Value test_divisibleby(Runtime& rt, const Value& self, Arguments& arguments) {
  return divisible(rt, self, bind(rt, "divisibleby", arguments, {{"num", {}}})[0], 0);
}

template <Op op>
Value test_compare(Runtime& rt, const Value& self, Arguments& arguments) {
  return Value::boolean(compare(rt, op, self, bind(rt, "this test", arguments, {{"", {}}})[0]));
}

Value test_in(Runtime& rt, const Value& self, Arguments& arguments) {
  return Value::boolean(contains(rt, bind(rt, "in", arguments, {{"seq", {}}})[0], self));
}

Value test_sameas(Runtime& rt, const Value& self, Arguments& arguments) {
  return Value::boolean(same(self, bind(rt, "sameas", arguments, {{"other", {}}})[0]));
}

template <bool (*wanted)(char32_t)>
Value test_case(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "this test", arguments, {});
  const std::string text = to_text(rt, self);
  bool found = false;
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = next_point(text, pos);
    if (is_cased(c) && !wanted(c)) {
      return Value::boolean(false);
    }
    found |= wanted(c);
  }
  return Value::boolean(found);
}

template <Native (*find)(std::string_view)>
Value test_known(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "this test", arguments, {});
  return Value::boolean(self.is_string() && find(self.text()) != nullptr);
}

constexpr NativeEntry kTests[] = {
    {"!=", test_compare<Op::kNe>},
    {"<", test_compare<Op::kLt>},
    {"<=", test_compare<Op::kLe>},
    {"==", test_compare<Op::kEq>},
    {">", test_compare<Op::kGt>},
    {">=", test_compare<Op::kGe>},
    {"boolean", simple<is_boolean>},
    {"callable", simple<is_callable>},
    {"defined", simple<is_defined>},
    {"divisibleby", test_divisibleby},
    {"eq", test_compare<Op::kEq>},
    {"equalto", test_compare<Op::kEq>},
    {"escaped", simple<is_escaped>},
    {"even", test_even},
    {"false", simple<is_false>},
    {"filter", test_known<find_filter>},
    {"float", simple<is_float>},
    {"ge", test_compare<Op::kGe>},
    {"greaterthan", test_compare<Op::kGt>},
    {"gt", test_compare<Op::kGt>},
    {"in", test_in},
    {"integer", simple<is_integer>},
    {"iterable", simple<is_iterable>},
    {"le", test_compare<Op::kLe>},
    {"lessthan", test_compare<Op::kLt>},
    {"lower", test_case<is_lower>},
    {"lt", test_compare<Op::kLt>},
    {"mapping", simple<is_mapping>},
    {"ne", test_compare<Op::kNe>},
    {"none", simple<is_none>},
    {"number", simple<is_number>},
    {"odd", test_odd},
    {"sameas", test_sameas},
    {"sequence", simple<is_sequence>},
    {"string", simple<is_string>},
    {"test", test_known<find_test>},
    {"true", simple<is_true>},
    {"undefined", simple<is_undefined>},
    {"upper", test_case<is_upper>},
};

}  // namespace

Native find_test(std::string_view name) {
  for (const NativeEntry& entry : kTests) {
    if (entry.name == name) {
      return entry.function;
    }
  }
  return nullptr;
}

}  // namespace qx::jinja
