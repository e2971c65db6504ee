// Filters on text and single values.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>

#include "text/jinja_builtins.h"
#include "text/jinja_format.h"
#include "text/jinja_ops.h"
#include "text/jinja_strings.h"
#include "text/jinja_text.h"
#include "text/jinja_tojson.h"

namespace qx::jinja {

namespace {

template <std::string (*map)(std::string_view)>
Value filter_map_text(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "this filter", arguments, {});
  const std::string text = to_text(rt, self);
  rt.charge_bytes(3 * text.size());
  return rt.string(map(text));
}

// Unlike str.title(), words begin only behind white space and - ( { [ <.
std::string title_words(std::string_view text) {
  std::string out;
  std::size_t start = 0;
  const auto flush = [&](std::size_t end) {
    if (end > start) {
      std::size_t behind = start;
      next_point(text, behind);
      out += upper(text.substr(start, behind - start));
      out += lower(text.substr(behind, end - behind));
    }
  };
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t at = pos;
    const char32_t c = next_point(text, pos);
    if (is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<') {
      flush(at);
      append_point(out, c);
      start = pos;
    }
  }
  flush(text.size());
  return out;
}

Value filter_trim(Runtime& rt, const Value& self, Arguments& arguments) {
  const Value chars = bind(rt, "trim", arguments, {{"chars", Value()}})[0];
  const std::string text = to_text(rt, self);
  if (chars.is_none()) {
    return rt.string(strip(text, Side::kBoth, std::nullopt));
  }
  return rt.string(strip(text, Side::kBoth, text_argument(rt, "trim", chars)));
}

Value filter_string(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "string", arguments, {});
  return self.is_string() ? self : rt.string(to_text(rt, self));
}

Value filter_replace(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, "replace", arguments, {{"old", {}}, {"new", {}}, {"count", Value()}});
  const std::int64_t count = args[2].is_none() ? -1 : int_argument(rt, "replace", args[2]);
  return rt.string(
      replace_text(rt, to_text(rt, self), to_text(rt, args[0]), to_text(rt, args[1]), count));
}

Value filter_safe(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "safe", arguments, {});
  return rt.string(to_text(rt, self), true);
}

template <bool force>
Value filter_escape(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "escape", arguments, {});
  if (!force && self.is_string() && self.as_str().markup) {
    return self;
  }
  return rt.string(escape_html(rt, to_text(rt, self)), true);
}

Value filter_default(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, "default", arguments,
           {{"default_value", rt.string("")}, {"boolean", Value::boolean(false)}});
  const bool replace = self.is_undefined() || (truthy(rt, args[1]) && !truthy(rt, self));
  return replace ? args[0] : self;
}

Value filter_indent(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args = bind(rt, "indent", arguments,
                                       {{"width", Value::integer(4)},
                                        {"first", Value::boolean(false)},
                                        {"blank", Value::boolean(false)}});
  std::string margin;
  if (args[0].is_string()) {
    margin = args[0].text();
  } else {
    const std::int64_t width = std::max<std::int64_t>(int_argument(rt, "indent", args[0]), 0);
    rt.charge_bytes(static_cast<std::size_t>(width));
    margin.assign(static_cast<std::size_t>(width), ' ');
  }
  if (self.is_undefined()) {
    rt.fail_text(self.undefined_message());
  }
  const std::string text = std::string(text_argument(rt, "indent", self)) + "\n";
  const bool blank = truthy(rt, args[2]);
  TextBuilder out(rt);
  out.append(truthy(rt, args[1]) ? margin : "");
  bool first = true;
  for (const std::string_view line : split_lines(text, false)) {
    if (!first) {
      out.append("\n");
      out.append(line.empty() && !blank ? "" : margin);
    }
    first = false;
    out.append(line);
  }
  return rt.string(out.take());
}

Value filter_truncate(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args = bind(rt, "truncate", arguments,
                                       {{"length", Value::integer(255)},
                                        {"killwords", Value::boolean(false)},
                                        {"end", rt.string("...")},
                                        {"leeway", Value()}});
  const std::string_view end = text_argument(rt, "truncate", args[2]);
  const std::int64_t size = int_argument(rt, "truncate", args[0]);
  const std::int64_t leeway = args[3].is_none() ? 5 : int_argument(rt, "truncate", args[3]);
  const std::int64_t keep = size - static_cast<std::int64_t>(args[2].as_str().points);
  if (keep < 0 || leeway < 0) {
    rt.fail("truncate got length {} and leeway {}, expected room for the end mark", size, leeway);
  }
  const std::optional<std::size_t> own = length(rt, self);
  const auto points = static_cast<std::int64_t>(own.value_or(0));
  if (own && (points <= size || points - size <= leeway)) {
    return self;
  }
  const std::string_view text = text_argument(rt, "truncate", self);
  rt.charge_text(text.size());
  std::string_view kept = text.substr(0, byte_offset(text, static_cast<std::size_t>(keep)));
  if (!truthy(rt, args[1])) {
    kept = kept.substr(0, kept.rfind(' '));
  }
  return rt.string(std::string(kept) + std::string(end));
}

Value filter_center(Runtime& rt, const Value& self, Arguments& arguments) {
  const Value width = bind(rt, "center", arguments, {{"width", Value::integer(80)}})[0];
  return rt.string(center_text(rt, to_text(rt, self), int_argument(rt, "center", width), ' '));
}

Value filter_wordcount(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "wordcount", arguments, {});
  const std::string text = to_text(rt, self);
  std::int64_t words = 0;
  bool inside = false;
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = next_point(text, pos);
    const bool part = c == '_' || is_alpha(c) || is_numeric(c);
    words += part && !inside;
    inside = part;
  }
  return Value::integer(words);
}

Value filter_format(Runtime& rt, const Value& self, Arguments& arguments) {
  const Value format = self.is_string() ? self : rt.string(to_text(rt, self));
  if (arguments.keywords.empty()) {
    return format_percent(rt, format, rt.tuple(arguments.positional));
  }
  if (!arguments.positional.empty()) {
    rt.fail("format got positional and named arguments, expected one kind");
  }
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [name, value] : arguments.keywords) {
    entries.emplace_back(rt.string(name), value);
  }
  return format_percent(rt, format, make_dict(rt, std::move(entries)));
}

// --- numbers

Value float_to_int(Runtime& rt, double number) {
  if (!(number >= -0x1p63 && number < 0x1p63)) {
    rt.fail("int got a number beyond 64 bits, expected a smaller one");
  }
  return Value::integer(static_cast<std::int64_t>(number));
}

Value filter_int(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, "int", arguments, {{"default", Value::integer(0)}, {"base", Value::integer(10)}});
  if (self.is_undefined()) {
    rt.fail_text(self.undefined_message());
  }
  if (self.is_integral()) {
    return Value::integer(self.as_int());
  }
  if (self.is(Kind::kFloat)) {
    return std::isnan(self.as_float()) ? args[0] : float_to_int(rt, self.as_float());
  }
  if (!self.is_string()) {
    return args[0];
  }
  rt.charge_text(self.text().size());
  const std::int64_t base = int_argument(rt, "int", args[1]);
  const bool usable = base == 0 || (base >= 2 && base <= 36);
  if (const auto whole = usable ? parse_int(self.text(), static_cast<int>(base)) : std::nullopt) {
    return Value::integer(*whole);
  }
  const std::optional<double> number = parse_float(self.text());
  return number && std::isfinite(*number) ? float_to_int(rt, *number) : args[0];
}

Value filter_float(Runtime& rt, const Value& self, Arguments& arguments) {
  const Value fallback = bind(rt, "float", arguments, {{"default", Value::real(0)}})[0];
  if (self.is_undefined()) {
    rt.fail_text(self.undefined_message());
  }
  if (self.is_number()) {
    return Value::real(self.as_number());
  }
  if (!self.is_string()) {
    return fallback;
  }
  rt.charge_text(self.text().size());
  const std::optional<double> number = parse_float(self.text());
  return number ? Value::real(*number) : fallback;
}

Value filter_abs(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "abs", arguments, {});
  if (self.is_undefined()) {
    rt.fail_text(self.undefined_message());
  }
  if (!self.is_number()) {
    rt.fail("abs got '{}', expected a number", type_name(self));
  }
  if (self.is(Kind::kFloat)) {
    return Value::real(std::fabs(self.as_float()));
  }
  return self.as_int() < 0 ? negate(rt, self) : Value::integer(self.as_int());
}

// As Python's round(): half to even, on the exact decimal value of the float.
double round_float(double value, std::int64_t digits) {
  if (!std::isfinite(value) || digits > 323) {
    return value;
  }
  if (digits >= 0) {
    return parse_float(fmt::format("{:.{}f}", value, static_cast<int>(digits))).value_or(value);
  }
  const double unit = std::pow(10.0, static_cast<double>(std::min<std::int64_t>(-digits, 400)));
  return std::isinf(unit) ? std::copysign(0.0, value) : std::nearbyint(value / unit) * unit;
}

Value round_int(Runtime& rt, std::int64_t value, std::int64_t digits) {
  if (digits >= 0) {
    return Value::integer(value);
  }
  if (digits < -18) {
    return Value::integer(0);
  }
  std::int64_t unit = 1;
  for (; digits < 0; ++digits) {
    unit *= 10;
  }
  const std::int64_t rest = ((value % unit) + unit) % unit;
  const Value down = arithmetic(rt, Op::kSub, Value::integer(value), Value::integer(rest));
  const bool odd = (down.as_int() / unit) % 2 != 0;
  const bool up = rest > unit - rest || (rest == unit - rest && odd);
  return up ? arithmetic(rt, Op::kAdd, down, Value::integer(unit)) : down;
}

Value filter_round(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args = bind(
      rt, "round", arguments, {{"precision", Value::integer(0)}, {"method", rt.string("common")}});
  const std::int64_t digits = int_argument(rt, "round", args[0]);
  const std::string_view method = text_argument(rt, "round", args[1]);
  if (method != "common" && method != "ceil" && method != "floor") {
    rt.fail("round got method '{}', expected common, ceil or floor", method);
  }
  if (self.is_undefined()) {
    rt.fail_text(self.undefined_message());
  }
  if (!self.is_number()) {
    rt.fail("round got '{}', expected a number", type_name(self));
  }
  if (method == "common") {
    return self.is(Kind::kFloat) ? Value::real(round_float(self.as_float(), digits))
                                 : round_int(rt, self.as_int(), digits);
  }
  const Value unit = arithmetic(rt, Op::kPow, Value::integer(10), Value::integer(digits));
  const double scaled = arithmetic(rt, Op::kMul, self, unit).as_number();
  if (!std::isfinite(scaled)) {
    rt.fail("round got a number that is not finite, expected one that is");
  }
  const double whole = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
  return arithmetic(rt, Op::kDiv, float_to_int(rt, whole), unit);
}

constexpr NativeEntry kTextFilters[] = {
    {"abs", filter_abs},
    {"capitalize", filter_map_text<capitalize>},
    {"center", filter_center},
    {"d", filter_default},
    {"default", filter_default},
    {"e", filter_escape<false>},
    {"escape", filter_escape<false>},
    {"float", filter_float},
    {"forceescape", filter_escape<true>},
    {"format", filter_format},
    {"indent", filter_indent},
    {"int", filter_int},
    {"lower", filter_map_text<lower>},
    {"replace", filter_replace},
    {"round", filter_round},
    {"safe", filter_safe},
    {"string", filter_string},
    {"title", filter_map_text<title_words>},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"truncate", filter_truncate},
    {"upper", filter_map_text<upper>},
    {"wordcount", filter_wordcount},
};

}  // namespace

Native find_text_filter(std::string_view name) {
  for (const NativeEntry& entry : kTextFilters) {
    if (entry.name == name) {
      return entry.function;
    }
  }
  return nullptr;
}

Native find_filter(std::string_view name) {
  const Native text = find_text_filter(name);
  return text != nullptr ? text : find_list_filter(name);
}

}  // namespace qx::jinja
