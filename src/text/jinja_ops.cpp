// Operators of the template language with Python's semantics (jinja_ops.h).
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_ops.h"

#include <algorithm>
#include <cmath>

#include "text/jinja_format.h"
#include "text/jinja_text.h"

namespace qx::jinja {

namespace {

[[noreturn]] void no_operator(Runtime& rt, std::string_view op, const Value& a, const Value& b) {
  if (a.is_undefined()) {
    rt.fail_text(a.undefined_message());
  }
  if (b.is_undefined()) {
    rt.fail_text(b.undefined_message());
  }
  rt.fail("got '{}' {} '{}', expected types that have this operator", type_name(a), op,
          type_name(b));
}

[[noreturn]] void overflow(Runtime& rt) {
  rt.fail("got an integer beyond 64 bits, expected a smaller one");
}

// Exact, as Python compares an int with a float.
std::partial_ordering compare_int_float(std::int64_t i, double f) {
  if (std::isnan(f)) {
    return std::partial_ordering::unordered;
  }
  if (f >= 0x1p63) {
    return std::partial_ordering::less;
  }
  if (f < -0x1p63) {
    return std::partial_ordering::greater;
  }
  const double whole = std::trunc(f);
  const auto as_int = static_cast<std::int64_t>(whole);
  return i != as_int ? i <=> as_int : 0.0 <=> (f - whole);
}

std::partial_ordering compare_numbers(const Value& a, const Value& b) {
  if (!a.is(Kind::kFloat) && !b.is(Kind::kFloat)) {
    return a.as_int() <=> b.as_int();
  }
  if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) {
    return a.as_float() <=> b.as_float();
  }
  if (a.is(Kind::kFloat)) {
    return 0 <=> compare_int_float(b.as_int(), a.as_float());
  }
  return compare_int_float(a.as_int(), b.as_float());
}

bool equal_items(Runtime& rt, const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!same(a[i], b[i]) && !equals(rt, a[i], b[i])) {
      return false;
    }
  }
  return true;
}

bool equal_dicts(Runtime& rt, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) {
    return false;
  }
  for (const auto& [key, value] : a.entries) {
    const Value* other = dict_find(rt, b, key);
    if (other == nullptr || (!same(value, *other) && !equals(rt, value, *other))) {
      return false;
    }
  }
  return true;
}

bool equal_ranges(const Range& a, const Range& b) {
  return a.count == b.count &&
         (a.count == 0 || (a.start == b.start && (a.count == 1 || a.step == b.step)));
}

}  // namespace

bool truthy(Runtime& rt, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.as_int() != 0;
    case Kind::kFloat:
      return value.as_float() != 0;
    default:
      return length(rt, value).value_or(1) != 0;
  }
}

bool same(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) {
    return false;
  }
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kFloat:
      return false;
    case Kind::kNone:
      return true;
    case Kind::kBool:
    case Kind::kInt:
      return a.as_int() == b.as_int();
    default:
      return a.identity() == b.identity();
  }
}

bool equals(Runtime& rt, const Value& a, const Value& b) {
  const Runtime::Level level(rt);
  rt.charge(1);
  if (a.is_number() && b.is_number()) {
    return std::is_eq(compare_numbers(a, b));
  }
  if (a.kind() != b.kind()) {
    return false;
  }
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      rt.charge_text(a.text().size());
      return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple:
      return equal_items(rt, a.items(), b.items());
    case Kind::kDict:
      return equal_dicts(rt, a.as_dict(), b.as_dict());
    case Kind::kRange:
      return equal_ranges(a.as_range(), b.as_range());
    default:
      return a.identity() == b.identity();
  }
}

namespace {

std::partial_ordering order(Runtime& rt, std::string_view op, const Value& a, const Value& b) {
  const Runtime::Level level(rt);
  rt.charge(1);
  if (a.is_number() && b.is_number()) {
    return compare_numbers(a, b);
  }
  if (a.is_string() && b.is_string()) {
    // UTF-8 sorts by code points.
    rt.charge_text(std::min(a.text().size(), b.text().size()));
    return a.text() <=> b.text();
  }
  if (a.is_sequence() && a.kind() == b.kind()) {
    const std::vector<Value>& left = a.items();
    const std::vector<Value>& right = b.items();
    for (std::size_t i = 0; i < left.size() && i < right.size(); ++i) {
      if (!same(left[i], right[i]) && !equals(rt, left[i], right[i])) {
        return order(rt, op, left[i], right[i]);
      }
    }
    return left.size() <=> right.size();
  }
  no_operator(rt, op, a, b);
}

}  // namespace

bool less(Runtime& rt, const Value& a, const Value& b) {
  return std::is_lt(order(rt, "<", a, b));
}

bool compare(Runtime& rt, Op op, const Value& a, const Value& b) {
  switch (op) {
    case Op::kEq:
      return equals(rt, a, b);
    case Op::kNe:
      return !equals(rt, a, b);
    case Op::kLt:
      return std::is_lt(order(rt, "<", a, b));
    case Op::kLe:
      return std::is_lteq(order(rt, "<=", a, b));
    case Op::kGt:
      return std::is_gt(order(rt, ">", a, b));
    case Op::kGe:
      return std::is_gteq(order(rt, ">=", a, b));
    case Op::kIn:
      return contains(rt, b, a);
    default:
      return !contains(rt, b, a);
  }
}

bool contains(Runtime& rt, const Value& container, const Value& item) {
  const auto among = [&](const std::vector<Value>& items) {
    return std::any_of(items.begin(), items.end(), [&](const Value& candidate) {
      return same(candidate, item) || equals(rt, candidate, item);
    });
  };
  switch (container.kind()) {
    case Kind::kUndefined:
      return false;
    case Kind::kString:
      if (!item.is_string()) {
        rt.fail("got '{}' in a string, expected a string", type_name(item));
      }
      rt.charge_text(container.text().size() + item.text().size());
      return find_text(container.text(), item.text(), 0) != std::string_view::npos;
    case Kind::kList:
    case Kind::kTuple:
      return among(container.items());
    case Kind::kView:
      return among(container.as_view().items);
    case Kind::kDict:
      if (!hashable(rt, item)) {
        rt.fail("got a key of type '{}', expected one that can be hashed", type_name(item));
      }
      return dict_find(rt, container.as_dict(), item) != nullptr;
    case Kind::kRange:
    case Kind::kIterator: {
      Iterator* items = iterate(rt, container);
      while (const std::optional<Value> candidate = items->next(rt)) {
        if (equals(rt, *candidate, item)) {
          return true;
        }
      }
      return false;
    }
    default:
      rt.fail("got 'in' with '{}', expected a container", type_name(container));
  }
}

namespace {

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  const std::int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

std::int64_t floor_mod(std::int64_t a, std::int64_t b) {
  const std::int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

double float_mod(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) {
    return std::copysign(0.0, b);
  }
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

double float_floor_div(double a, double b) {
  const double quotient = (a - float_mod(a, b)) / b;
  if (quotient == 0) {
    return std::copysign(0.0, a / b);
  }
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

std::int64_t int_power(Runtime& rt, std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) {
      overflow(rt);
    }
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) {
      overflow(rt);
    }
  }
  return result;
}

Value power(Runtime& rt, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral() && b.as_int() >= 0) {
    return Value::integer(int_power(rt, a.as_int(), b.as_int()));
  }
  const double base = a.as_number();
  const double exponent = b.as_number();
  if (base == 0 && exponent < 0) {
    rt.fail("got 0 to a negative power, expected another base");
  }
  if (base < 0 && std::trunc(exponent) != exponent && std::isfinite(exponent)) {
    rt.fail("got a negative number to a fractional power, expected a real result");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    rt.fail("got a power beyond the range of a float, expected a smaller one");
  }
  return Value::real(result);
}

Value int_arithmetic(Runtime& rt, Op op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool too_large = false;
  switch (op) {
    case Op::kAdd:
      too_large = __builtin_add_overflow(a, b, &result);
      break;
    case Op::kSub:
      too_large = __builtin_sub_overflow(a, b, &result);
      break;
    case Op::kMul:
      too_large = __builtin_mul_overflow(a, b, &result);
      break;
    default:
      if (b == -1) {  // the one divisor that can overflow
        too_large = op == Op::kFloorDiv && __builtin_sub_overflow(std::int64_t{0}, a, &result);
      } else {
        result = op == Op::kFloorDiv ? floor_div(a, b) : floor_mod(a, b);
      }
  }
  if (too_large) {
    overflow(rt);
  }
  return Value::integer(result);
}

Value number_arithmetic(Runtime& rt, Op op, const Value& a, const Value& b) {
  if (op == Op::kPow) {
    return power(rt, a, b);
  }
  const bool divides = op == Op::kDiv || op == Op::kFloorDiv || op == Op::kMod;
  if (divides && b.as_number() == 0) {
    rt.fail("got a division by zero, expected another divisor");
  }
  if (a.is_integral() && b.is_integral() && op != Op::kDiv) {
    return int_arithmetic(rt, op, a.as_int(), b.as_int());
  }
  const double x = a.as_number();
  const double y = b.as_number();
  switch (op) {
    case Op::kAdd:
      return Value::real(x + y);
    case Op::kSub:
      return Value::real(x - y);
    case Op::kMul:
      return Value::real(x * y);
    case Op::kDiv:
      return Value::real(x / y);
    case Op::kFloorDiv:
      return Value::real(float_floor_div(x, y));
    default:
      return Value::real(float_mod(x, y));
  }
}

Value add_strings(Runtime& rt, const Value& a, const Value& b) {
  const Str& left = a.as_str();
  const Str& right = b.as_str();
  TextBuilder text(rt);
  const auto append = [&](const Str& piece, const Str& other) {
    text.append(other.markup && !piece.markup ? escape_html(rt, piece.text) : piece.text);
  };
  append(left, right);
  append(right, left);
  return rt.string(text.take(), left.markup || right.markup);
}

Value repeat(Runtime& rt, const Value& sequence, std::int64_t times) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  const std::size_t size =
      sequence.is_string() ? sequence.text().size() : sequence.items().size() * sizeof(Value);
  if (size != 0 && count > rt.limits().value_bytes / size) {
    rt.fail("got a repetition of {} bytes {} times, expected at most {} bytes", size, count,
            rt.limits().value_bytes);
  }
  rt.charge_bytes(size * count);
  if (sequence.is_string()) {
    std::string text;
    text.reserve(size * count);
    for (std::size_t i = 0; size != 0 && i < count; ++i) {
      text += sequence.text();
    }
    return rt.string(std::move(text), sequence.as_str().markup);
  }
  std::vector<Value> items;
  items.reserve(sequence.items().size() * count);
  for (std::size_t i = 0; size != 0 && i < count; ++i) {
    items.insert(items.end(), sequence.items().begin(), sequence.items().end());
  }
  return sequence.is(Kind::kList) ? rt.list(std::move(items)) : rt.tuple(std::move(items));
}

std::string_view symbol(Op op) {
  switch (op) {
    case Op::kAdd:
      return "+";
    case Op::kSub:
      return "-";
    case Op::kMul:
      return "*";
    case Op::kDiv:
      return "/";
    case Op::kFloorDiv:
      return "//";
    case Op::kMod:
      return "%";
    default:
      return "**";
  }
}

}  // namespace

Value arithmetic(Runtime& rt, Op op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return number_arithmetic(rt, op, a, b);
  }
  const auto repeatable = [](const Value& v) { return v.is_string() || v.is_sequence(); };
  if (op == Op::kMod && a.is_string()) {
    return format_percent(rt, a, b);
  }
  if (op == Op::kAdd && a.is_string() && b.is_string()) {
    return add_strings(rt, a, b);
  }
  if (op == Op::kAdd && a.is_sequence() && a.kind() == b.kind()) {
    std::vector<Value> items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    return a.is(Kind::kList) ? rt.list(std::move(items)) : rt.tuple(std::move(items));
  }
  if (op == Op::kMul && repeatable(a) && b.is_integral()) {
    return repeat(rt, a, b.as_int());
  }
  if (op == Op::kMul && repeatable(b) && a.is_integral()) {
    return repeat(rt, b, a.as_int());
  }
  no_operator(rt, symbol(op), a, b);
}

Value negate(Runtime& rt, const Value& value) {
  if (value.is(Kind::kFloat)) {
    return Value::real(-value.as_float());
  }
  if (value.is_integral()) {
    return int_arithmetic(rt, Op::kSub, 0, value.as_int());
  }
  no_operator(rt, "-", value, value);
}

Value plus(Runtime& rt, const Value& value) {
  if (value.is(Kind::kFloat)) {
    return value;
  }
  if (value.is_integral()) {
    return Value::integer(value.as_int());
  }
  no_operator(rt, "+", value, value);
}

std::vector<Value> sorted(Runtime& rt, const std::vector<Value>& keys,
                          const std::vector<Value>& items, bool reverse) {
  // A merge sort of our own: the standard library's may run out of bounds when the order is not a strict one
  // (NaN), and a comparison may throw. Descending order keeps equal items in place, as Python does.
  const std::size_t count = items.size();
  rt.charge_bytes(count * (sizeof(Value) + 2 * sizeof(std::size_t)));
  std::vector<std::size_t> rank(count);
  for (std::size_t i = 0; i < count; ++i) {
    rank[i] = i;
  }
  std::vector<std::size_t> merged(count);
  const auto right_first = [&](std::size_t left, std::size_t right) {
    return reverse ? less(rt, keys[left], keys[right]) : less(rt, keys[right], keys[left]);
  };
  for (std::size_t width = 1; width < count; width *= 2) {
    for (std::size_t start = 0; start < count; start += 2 * width) {
      const std::size_t middle = std::min(start + width, count);
      const std::size_t end = std::min(start + 2 * width, count);
      std::size_t left = start;
      std::size_t right = middle;
      for (std::size_t out = start; out < end; ++out) {
        const bool take_right =
            left == middle || (right < end && right_first(rank[left], rank[right]));
        merged[out] = take_right ? rank[right++] : rank[left++];
      }
    }
    rank.swap(merged);
  }
  std::vector<Value> result;
  result.reserve(count);
  for (const std::size_t i : rank) {
    result.push_back(items[i]);
  }
  return result;
}

}  // namespace qx::jinja
