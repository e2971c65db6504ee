// "%s" % x and "{}".format(x) (jinja_format.h).
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_format.h"

#include <algorithm>
#include <cmath>

#include "text/jinja_ops.h"
#include "text/jinja_text.h"

namespace qx::jinja {

namespace {

constexpr int kMaxPrecision = 1000;  // a double has at most 767 significant digits

bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}

// Reads digits at pos. Fails beyond nine of them: no text is that wide.
std::size_t read_number(Runtime& rt, std::string_view text, std::size_t& pos) {
  std::size_t value = 0;
  for (; pos < text.size() && is_ascii_digit(text[pos]); ++pos) {
    value = value * 10 + static_cast<std::size_t>(text[pos] - '0');
    if (value > 1'000'000'000) {
      rt.fail("got a width or precision above 1000000000 in a format, expected less");
    }
  }
  return value;
}

int checked_precision(Runtime& rt, std::size_t precision) {
  if (precision > kMaxPrecision) {
    rt.fail("got precision {} in a format, expected at most {}", precision, kMaxPrecision);
  }
  return static_cast<int>(precision);
}

std::string pad(Runtime& rt, std::string_view text, const FormatSpec& spec, char own_align) {
  const std::size_t points = count_points(text);
  if (points >= spec.width) {
    return std::string(text);
  }
  const std::size_t total = spec.width - points;
  rt.charge_bytes(total * 4 + text.size());
  const char align = spec.align == 0 ? own_align : spec.align;
  const std::size_t left = align == '>' ? total : align == '^' ? total / 2 : 0;
  std::string fill;
  append_point(fill, spec.fill);
  std::string out;
  for (std::size_t i = 0; i < left; ++i) {
    out += fill;
  }
  out += text;
  for (std::size_t i = left; i < total; ++i) {
    out += fill;
  }
  return out;
}

// sign and prefix stay left of '=' padding.
std::string pad_number(Runtime& rt, std::string head, std::string digits, const FormatSpec& spec) {
  if (spec.align == '=' && head.size() + digits.size() < spec.width) {
    FormatSpec inner = spec;
    inner.align = '>';
    inner.width = spec.width - head.size();
    return head + pad(rt, digits, inner, '>');
  }
  return pad(rt, head + digits, spec, '>');
}

std::string group_digits(std::string digits, char separator, std::size_t size) {
  const std::size_t whole =
      std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  for (std::size_t at = whole; at > size; at -= size) {
    digits.insert(at - size, 1, separator);
  }
  return digits;
}

std::string sign_text(bool negative, char sign) {
  return negative ? "-" : sign == '-' ? "" : std::string(1, sign);
}

std::string float_digits(double magnitude, const FormatSpec& spec) {
  const bool capital = spec.type == 'E' || spec.type == 'G' || spec.type == 'F';
  if (!std::isfinite(magnitude)) {
    const std::string word = std::isnan(magnitude) ? "nan" : "inf";
    return (capital ? upper(word) : word) + (spec.type == '%' ? "%" : "");
  }
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  const auto print = [&](fmt::string_view plain, fmt::string_view alternate, double value,
                         int digits) {
    return fmt::format(fmt::runtime(spec.alternate ? alternate : plain), value, digits);
  };
  switch (spec.type) {
    case 'f':
    case 'F':
      return print("{:.{}f}", "{:#.{}f}", magnitude, precision);
    case '%':
      return print("{:.{}f}", "{:#.{}f}", magnitude * 100, precision) + "%";
    case 'e':
      return print("{:.{}e}", "{:#.{}e}", magnitude, precision);
    case 'E':
      return print("{:.{}E}", "{:#.{}E}", magnitude, precision);
    case 'G':
      return print("{:.{}G}", "{:#.{}G}", magnitude, std::max(precision, 1));
    case 'g':
      return print("{:.{}g}", "{:#.{}g}", magnitude, std::max(precision, 1));
    default:
      break;
  }
  if (spec.precision < 0) {
    return float_repr(magnitude);
  }
  std::string digits = print("{:.{}g}", "{:#.{}g}", magnitude, std::max(precision, 1));
  if (digits.find_first_of(".e") == std::string::npos) {
    // As Python: a plain float keeps a digit behind its point, or turns to the exponent form.
    digits = static_cast<int>(digits.size()) < std::max(precision, 1)
                 ? digits + ".0"
                 : print("{:.{}e}", "{:#.{}e}", magnitude, std::max(precision, 1) - 1);
  }
  return digits;
}

}  // namespace

std::string format_float(Runtime& rt, double value, const FormatSpec& spec) {
  std::string digits = float_digits(std::fabs(value), spec);
  if (spec.grouping != 0) {
    digits = group_digits(std::move(digits), spec.grouping, 3);
  }
  const bool negative = std::signbit(value) && !std::isnan(value);
  return pad_number(rt, sign_text(negative, spec.sign), std::move(digits), spec);
}

std::string format_int(Runtime& rt, std::int64_t value, const FormatSpec& spec) {
  const auto magnitude = value < 0 ? std::uint64_t{0} - static_cast<std::uint64_t>(value)
                                   : static_cast<std::uint64_t>(value);
  std::string head = sign_text(value < 0, spec.sign);
  std::string digits;
  std::size_t group = 4;
  switch (spec.type) {
    case 'x':
      digits = fmt::format("{:x}", magnitude);
      break;
    case 'X':
      digits = fmt::format("{:X}", magnitude);
      break;
    case 'o':
      digits = fmt::format("{:o}", magnitude);
      break;
    case 'b':
      digits = fmt::format("{:b}", magnitude);
      break;
    default:
      digits = fmt::format("{}", magnitude);
      group = 3;
  }
  if (spec.precision > static_cast<int>(digits.size())) {
    digits.insert(0, spec.precision - digits.size(), '0');
  }
  if (spec.alternate && group == 4) {
    head += '0';
    head += spec.type;
  }
  if (spec.grouping != 0) {
    digits = group_digits(std::move(digits), spec.grouping, group);
  }
  return pad_number(rt, std::move(head), std::move(digits), spec);
}

namespace {

std::string cut(std::string text, int precision) {
  return precision < 0 ? text
                       : text.substr(0, byte_offset(text, static_cast<std::size_t>(precision)));
}

std::string ascii_repr(Runtime& rt, const Value& value) {
  std::string out;
  const std::string text = repr(rt, value);
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = next_point(text, pos);
    if (c < 0x80) {
      append_point(out, c);
    } else {
      const auto number = static_cast<unsigned>(c);
      out += c < 0x100     ? fmt::format("\\x{:02x}", number)
             : c < 0x10000 ? fmt::format("\\u{:04x}", number)
                           : fmt::format("\\U{:08x}", number);
    }
  }
  return out;
}

// The values that a % format takes, one after the other or by name.
class PercentArguments {
 public:
  PercentArguments(Runtime& rt, const Value& argument) : rt_(rt), argument_(argument) {}

  Value next() {
    if (argument_.is(Kind::kTuple)) {
      if (used_ >= argument_.items().size()) {
        rt_.fail("got {} values for a format, expected more", used_);
      }
      return argument_.items()[used_++];
    }
    if (used_++ > 0) {
      rt_.fail("got one value for a format, expected more");
    }
    return argument_;
  }
  Value named(std::string_view name) {
    if (!argument_.is(Kind::kDict)) {
      rt_.fail("got '{}' for a format with names, expected a dict", type_name(argument_));
    }
    const Value* value = dict_find(rt_, argument_.as_dict(), name);
    if (value == nullptr) {
      rt_.fail("got no value named '{}' for a format, expected one", name);
    }
    return *value;
  }
  void finish() const {
    const bool may_stay = argument_.is(Kind::kDict) || argument_.is(Kind::kList) ||
                          argument_.is(Kind::kRange) || argument_.is_undefined();
    const std::size_t count = argument_.is(Kind::kTuple) ? argument_.items().size() : 1;
    if (!may_stay && used_ < count) {
      rt_.fail("got {} values for a format that uses {}, expected as many", count, used_);
    }
  }

 private:
  Runtime& rt_;
  const Value& argument_;
  std::size_t used_ = 0;
};

double number_argument(Runtime& rt, const Value& value) {
  if (value.is_undefined()) {
    rt.fail_text(value.undefined_message());
  }
  if (!value.is_number()) {
    rt.fail("got '{}' for a number in a format, expected a number", type_name(value));
  }
  return value.as_number();
}

std::int64_t integer_argument(Runtime& rt, const Value& value, char type) {
  const double number = number_argument(rt, value);
  if (value.is_integral()) {
    return value.as_int();
  }
  const bool truncates = type == 'd' || type == 'i' || type == 'u';
  if (!truncates || !(std::fabs(number) < 0x1p63)) {
    rt.fail("got a float for %{}, expected an integer", type);
  }
  return static_cast<std::int64_t>(number);
}

std::string percent_character(Runtime& rt, const Value& value) {
  if (value.is_string() && value.as_str().points == 1) {
    return std::string(value.text());
  }
  const std::int64_t code = value.is_integral() ? value.as_int() : -1;
  if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
    rt.fail("got '{}' for %c, expected a character", type_name(value));
  }
  std::string out;
  append_point(out, static_cast<char32_t>(code));
  return out;
}

std::string percent_field(Runtime& rt, const Value& value, FormatSpec spec) {
  switch (spec.type) {
    case 's':
      return pad(rt, cut(to_text(rt, value), spec.precision), spec, '>');
    case 'r':
      return pad(rt, cut(repr(rt, value), spec.precision), spec, '>');
    case 'a':
      return pad(rt, cut(ascii_repr(rt, value), spec.precision), spec, '>');
    case 'c':
      return pad(rt, percent_character(rt, value), spec, '>');
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
      return format_int(rt, integer_argument(rt, value, spec.type), spec);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      return format_float(rt, number_argument(rt, value), spec);
    default:
      rt.fail("got format character '{}', expected one of s r a c d i u o x X e E f F g G",
              spec.type);
  }
}

struct PercentSpec {
  FormatSpec spec;
  std::optional<std::string_view> name;
};

std::string_view percent_name(Runtime& rt, std::string_view format, std::size_t& pos) {
  const std::size_t start = ++pos;
  for (int open = 1; open > 0; ++pos) {
    if (pos >= format.size()) {
      rt.fail("got a format with '%(' and no ')', expected it closed");
    }
    open += format[pos] == '(' ? 1 : format[pos] == ')' ? -1 : 0;
  }
  return format.substr(start, pos - start - 1);
}

// Reads what follows '%' up to and with the type character.
PercentSpec read_percent(Runtime& rt, std::string_view format, std::size_t& pos,
                         PercentArguments& arguments) {
  PercentSpec out;
  FormatSpec& spec = out.spec;
  const auto at = [&] { return pos < format.size() ? format[pos] : '\0'; };
  const auto star = [&] {
    ++pos;
    return int_argument(rt, "%", arguments.next());
  };
  if (at() == '(') {
    out.name = percent_name(rt, format, pos);
  }
  bool zero = false;
  for (; std::string_view("#0- +").find(at()) != std::string_view::npos && at() != '\0'; ++pos) {
    spec.alternate |= at() == '#';
    zero |= at() == '0';
    spec.align = at() == '-' ? '<' : spec.align;
    spec.sign = at() == '+' || (at() == ' ' && spec.sign != '+') ? at() : spec.sign;
  }
  if (at() == '*') {
    const std::int64_t width = star();
    spec.align = width < 0 ? '<' : spec.align;
    if (width > 1'000'000'000 || width < -1'000'000'000) {
      rt.fail("got width {} in a format, expected at most 1000000000", width);
    }
    spec.width = static_cast<std::size_t>(std::abs(width));
  } else {
    spec.width = read_number(rt, format, pos);
  }
  if (at() == '.') {
    ++pos;
    const std::size_t precision = at() == '*'
                                      ? static_cast<std::size_t>(std::max<std::int64_t>(star(), 0))
                                      : read_number(rt, format, pos);
    spec.precision = static_cast<int>(std::min<std::size_t>(precision, 1'000'000'000));
  }
  pos += at() == 'h' || at() == 'l' || at() == 'L';
  if (at() == '\0') {
    rt.fail("got an incomplete format, expected a format character at its end");
  }
  spec.type = at();
  const bool number =
      std::string_view("sracd").find(spec.type) == std::string_view::npos || spec.type == 'd';
  if (number && spec.precision >= 0) {
    spec.precision = checked_precision(rt, static_cast<std::size_t>(spec.precision));
  }
  if (zero && spec.align == 0 && number) {
    spec.align = '=';
    spec.fill = '0';
  }
  ++pos;
  return out;
}

}  // namespace

Value format_percent(Runtime& rt, const Value& format, const Value& argument) {
  const std::string_view text = format.text();
  PercentArguments arguments(rt, argument);
  TextBuilder out(rt);
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t percent = std::min(text.find('%', pos), text.size());
    out.append(text.substr(pos, percent - pos));
    if (percent == text.size()) {
      break;
    }
    pos = percent + 1;
    const PercentSpec field = read_percent(rt, text, pos, arguments);
    if (field.spec.type == '%') {
      out.append("%");
      continue;
    }
    const Value value = field.name ? arguments.named(*field.name) : arguments.next();
    out.append(percent_field(rt, value, field.spec));
  }
  arguments.finish();
  return rt.string(out.take());
}

namespace {

FormatSpec read_spec(Runtime& rt, std::string_view text) {
  FormatSpec spec;
  std::size_t pos = 0;
  const auto at = [&] { return pos < text.size() ? text[pos] : '\0'; };
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  std::size_t behind = 0;
  const char32_t first = text.empty() ? U'\0' : next_point(text, behind);
  if (behind < text.size() && is_align(text[behind])) {
    spec.fill = first;
    spec.align = text[behind];
    pos = behind + 1;
  } else if (is_align(at())) {
    spec.align = text[pos++];
  }
  if (at() == '+' || at() == '-' || at() == ' ') {
    spec.sign = text[pos++];
  }
  if (at() == '#') {
    spec.alternate = true;
    ++pos;
  }
  if (at() == '0') {
    ++pos;
    if (spec.align == 0) {
      spec.fill = '0';
      spec.align = '=';
    }
  }
  spec.width = read_number(rt, text, pos);
  if (at() == ',' || at() == '_') {
    spec.grouping = text[pos++];
  }
  if (at() == '.') {
    const std::size_t start = ++pos;
    const std::size_t precision = read_number(rt, text, pos);
    if (pos == start) {
      rt.fail("got a format specification with '.', expected a precision behind it");
    }
    spec.precision = static_cast<int>(precision);
  }
  if (pos < text.size()) {
    spec.type = text[pos++];
  }
  if (pos != text.size()) {
    rt.fail(
        "got format specification '{}', expected [[fill]align][sign][#][0][width][,][.precision]"
        "[type]",
        text);
  }
  return spec;
}

std::string format_value(Runtime& rt, const Value& value, std::string_view spec_text) {
  if (spec_text.empty()) {
    return to_text(rt, value);
  }
  FormatSpec spec = read_spec(rt, spec_text);
  const auto one_of = [&](std::string_view types) {
    return spec.type == 0 || types.find(spec.type) != std::string_view::npos;
  };
  if (value.is_string() && one_of("s") && spec.sign == '-' && !spec.alternate &&
      spec.grouping == 0 && (spec.align != '=' || spec.fill == '0')) {
    spec.align = spec.align == '=' ? '<' : spec.align;  // a bare 0 before the width
    return pad(rt, cut(to_text(rt, value), spec.precision), spec, '<');
  }
  if (value.is_integral() && one_of("dxXobn") && spec.precision < 0) {
    return format_int(rt, value.as_int(), spec);
  }
  if (value.is_number() && one_of("eEfFgG%")) {
    checked_precision(rt, static_cast<std::size_t>(std::max(spec.precision, 0)));
    return format_float(rt, value.as_number(), spec);
  }
  rt.fail("got format specification '{}' for '{}', expected one that fits", spec_text,
          type_name(value));
}

class BraceFormatter {
 public:
  BraceFormatter(Runtime& rt, const Arguments& arguments) : rt_(rt), arguments_(arguments) {}

  std::string expand(std::string_view text, int levels) {
    if (levels < 0) {
      rt_.fail("got replacement fields nested too deep in a format, expected two levels");
    }
    TextBuilder out(rt_);
    for (std::size_t pos = 0; pos < text.size();) {
      const std::size_t brace = std::min(text.find_first_of("{}", pos), text.size());
      out.append(text.substr(pos, brace - pos));
      if (brace == text.size()) {
        break;
      }
      pos = brace + 1;
      if (pos < text.size() && text[pos] == text[brace]) {
        out.append(text.substr(brace, 1));
        ++pos;
      } else if (text[brace] == '}') {
        rt_.fail("got a single '}}' in a format, expected '{{' before it");
      } else {
        out.append(field(take_field(text, pos), levels));
      }
    }
    return out.take();
  }

 private:
  // The text between the braces; pos moves behind the closing one.
  std::string_view take_field(std::string_view text, std::size_t& pos) {
    const std::size_t start = pos;
    for (int open = 1; pos < text.size();) {
      const char c = text[pos++];
      open += c == '{' ? 1 : c == '}' ? -1 : 0;
      if (open == 0) {
        return text.substr(start, pos - 1 - start);
      }
    }
    rt_.fail("got a format with '{{' and no '}}', expected it closed");
  }

  std::string field(std::string_view text, int levels) {
    std::size_t end = 0;
    for (bool bracket = false; end < text.size(); ++end) {
      bracket = text[end] == '[' || (bracket && text[end] != ']');
      if (!bracket && (text[end] == ':' || text[end] == '!')) {
        break;
      }
    }
    Value value = lookup(text.substr(0, end));
    std::string_view rest = text.substr(end);
    if (!rest.empty() && rest[0] == '!') {
      const char kind = rest.size() > 1 ? rest[1] : '\0';
      if (kind == 's') {
        value = rt_.string(to_text(rt_, value));
      } else if (kind == 'r' || kind == 'a') {
        value = rt_.string(kind == 'r' ? repr(rt_, value) : ascii_repr(rt_, value));
      } else {
        rt_.fail("got conversion '!{}' in a format, expected !s, !r or !a", kind);
      }
      rest.remove_prefix(2);
      if (!rest.empty() && rest[0] != ':') {
        rt_.fail("got '{}' behind a conversion in a format, expected ':'", rest);
      }
    }
    const std::string spec = rest.empty() ? std::string() : expand(rest.substr(1), levels - 1);
    return format_value(rt_, value, spec);
  }

  Value lookup(std::string_view path) {
    const std::size_t end = std::min(path.find_first_of(".["), path.size());
    Value value = first(path.substr(0, end), end == path.size());
    for (std::size_t pos = end; pos < path.size();) {
      if (path[pos] == '.') {
        const std::size_t stop = std::min(path.find_first_of(".[", pos + 1), path.size());
        value = get_attribute(rt_, value, path.substr(pos + 1, stop - pos - 1));
        pos = stop;
        continue;
      }
      const std::size_t close = path.find(']', pos);
      if (path[pos] != '[' || close == std::string_view::npos || close == pos + 1) {
        rt_.fail("got field '{}' in a format, expected name, .attribute or [item]", path);
      }
      const std::string_view key = path.substr(pos + 1, close - pos - 1);
      const std::optional<std::int64_t> number =
          std::all_of(key.begin(), key.end(), is_ascii_digit) ? parse_int(key, 10) : std::nullopt;
      value = get_item(rt_, value, number ? Value::integer(*number) : rt_.string(key));
      pos = close + 1;
    }
    return value;
  }

  Value first(std::string_view name, bool whole) {
    const bool digits = !name.empty() && std::all_of(name.begin(), name.end(), is_ascii_digit);
    std::size_t index = next_;
    if (digits || (name.empty() && whole)) {
      const bool automatic = name.empty();
      if (mode_set_ && automatic != automatic_) {
        rt_.fail("got automatic and given field numbers in one format, expected one kind");
      }
      mode_set_ = true;
      automatic_ = automatic;
      if (automatic) {
        ++next_;
      } else {
        std::size_t pos = 0;
        index = read_number(rt_, name, pos);
      }
      if (index >= arguments_.positional.size()) {
        rt_.fail("got field {} in a format, expected below {}", index,
                 arguments_.positional.size());
      }
      return arguments_.positional[index];
    }
    for (const auto& [key, value] : arguments_.keywords) {
      if (key == name) {
        return value;
      }
    }
    rt_.fail("got field '{}' in a format, expected a given name", name);
  }

  Runtime& rt_;
  const Arguments& arguments_;
  std::size_t next_ = 0;
  bool mode_set_ = false;
  bool automatic_ = false;
};

}  // namespace

Value format_braces(Runtime& rt, const Value& format, const Arguments& arguments) {
  return rt.string(BraceFormatter(rt, arguments).expand(format.text(), 1));
}

}  // namespace qx::jinja
