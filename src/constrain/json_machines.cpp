// SPDX-License-Identifier: Apache-2.0
#include "constrain/json_machines.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <tuple>

#include "base/error.h"

namespace qx {
namespace {

using Part = Fragments::Part;

constexpr int kIntegerDigits = 18;  // any such integer fits 64 bits
constexpr int kDecimalDigits = 15;  // any two such decimals are different doubles
constexpr std::int64_t kSaturated = 4'000'000'000'000'000'000;

Part byte(Fragments& f, char c) {
  return f.byte_range(static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c));
}

Part bytes_of(Fragments& f, std::string_view choices) {
  std::vector<Part> parts;
  for (const char c : choices) parts.push_back(byte(f, c));
  return f.either(parts);
}

Part hex_digit(Fragments& f) {
  const Part parts[] = {f.byte_range('0', '9'), f.byte_range('a', 'f'), f.byte_range('A', 'F')};
  return f.either(parts);
}

Part digit(Fragments& f) {
  return f.byte_range('0', '9');
}

// min to max digits.
Part digits(Fragments& f, int min, int max) {
  Part part = f.nothing();
  for (int i = max; i > 0; --i) {
    part = f.sequence(digit(f), part);
    if (i > min) part = f.optional(part);
  }
  return part;
}

Part escaped_unit(Fragments& f, Part first_two) {
  const Part parts[] = {f.literal("\\u"), first_two, hex_digit(f), hex_digit(f)};
  return f.sequence(parts);
}

std::string short_escape(char32_t c) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return fmt::format("\\u{:04x}", static_cast<unsigned>(c));
  }
}

std::string quoted(const std::string& name) {
  return Json(name).dump();
}

std::int64_t power_of_ten(int exponent) {
  std::int64_t power = 1;
  while (exponent-- > 0) power *= 10;
  return power;
}

// |value| * 10^shift, rounded down or up; kSaturated when larger.
std::int64_t scaled_magnitude(const Decimal& value, int shift, bool up) {
  std::uint64_t digits = value.digits;
  int exponent = value.exponent + shift;
  if (digits == 0) return 0;
  for (; exponent > 0; --exponent) {
    if (digits >= static_cast<std::uint64_t>(kSaturated) / 10) return kSaturated;
    digits *= 10;
  }
  bool rest = false;
  for (; exponent < 0 && digits > 0; ++exponent) {
    rest = rest || digits % 10 != 0;
    digits /= 10;
  }
  digits = std::min(digits, static_cast<std::uint64_t>(kSaturated) - 1);
  return static_cast<std::int64_t>(digits) + (up && rest ? 1 : 0);
}

std::int64_t scaled(const Decimal& value, int shift, bool up) {
  return value.negative ? -scaled_magnitude(value, shift, !up) : scaled_magnitude(value, shift, up);
}

// Texts of the integers low to high, of `whole + fraction` digits each, with a point before the last
// `fraction` of them; zeros at the end of a fraction may be left out.
class DigitRange {
 public:
  DigitRange(Fragments& fragments, int whole, int fraction, std::int64_t multiple)
      : fragments_(fragments), whole_(whole), length_(whole + fraction), multiple_(multiple) {}

  Part texts(std::int64_t low, std::int64_t high) {
    low_ = fmt::format("{:0{}}", low, length_);
    high_ = fmt::format("{:0{}}", high, length_);
    exit_ = fragments_.add_state();
    return {state({0, true, true, false, 0}), exit_};
  }

 private:
  struct Key {
    int position;
    bool at_low, at_high;  // the digits so far equal the bound's, which goes on to matter
    bool after_point;
    std::int64_t rest;  // of the division by multiple_
    auto operator<=>(const Key&) const = default;
  };

  std::int32_t state(Key key) {
    const auto p = static_cast<std::size_t>(key.position);
    if (low_.find_first_not_of('0', p) == std::string::npos) key.at_low = false;
    if (high_.find_first_not_of('9', p) == std::string::npos) key.at_high = false;
    const auto [at, fresh] = known_.emplace(key, kNoState);
    if (!fresh) return at->second;
    const std::int32_t own = fragments_.add_state();
    at->second = own;
    // At the lower bound, ending here would mean zeros where the bound has other digits.
    const bool may_end = key.position >= whole_ && (key.position > whole_ || !key.after_point);
    if (may_end && !key.at_low && key.rest == 0) fragments_.add_jump(own, exit_);
    if (key.position == whole_ && !key.after_point) {
      if (length_ > whole_) {
        Key next = key;
        next.after_point = true;
        fragments_.add_edge(own, '.', '.', state(next));
      }
      return own;
    }
    if (key.position == length_) return own;
    const char first = key.at_low ? low_[p] : '0';
    const char last = key.at_high ? high_[p] : '9';
    for (char d = first; d <= last; ++d) {
      const Key next{key.position + 1, key.at_low && d == low_[p], key.at_high && d == high_[p],
                     key.after_point, (key.rest * 10 + (d - '0')) % multiple_};
      fragments_.add_edge(own, static_cast<std::uint8_t>(d), static_cast<std::uint8_t>(d),
                          state(next));
    }
    return own;
  }

  Fragments& fragments_;
  int whole_, length_;
  std::int64_t multiple_;
  std::string low_, high_;
  std::int32_t exit_ = kNoState;
  std::map<Key, std::int32_t> known_;
};

}  // namespace

ByteMachine any_string_character() {
  Fragments f("string");
  const std::vector<CodePointRange> unescaped = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x10FFFF}};
  std::vector<Part> choices;
  for (const CodePointRange& range : unescaped) choices.push_back(f.utf8(range));
  choices.push_back(f.sequence(byte(f, '\\'), bytes_of(f, "\"\\/bfnrt")));
  const Part not_d[] = {f.byte_range('0', '9'), bytes_of(f, "abcefABCEF")};
  choices.push_back(escaped_unit(f, f.sequence(f.either(not_d), hex_digit(f))));
  choices.push_back(escaped_unit(f, f.sequence(bytes_of(f, "dD"), f.byte_range('0', '7'))));
  const Part high = escaped_unit(f, f.sequence(bytes_of(f, "dD"), bytes_of(f, "89abAB")));
  const Part low = escaped_unit(f, f.sequence(bytes_of(f, "dD"), bytes_of(f, "cdefCDEF")));
  choices.push_back(f.sequence(high, low));
  return f.machine(f.either(choices));
}

Part plain_characters(Fragments& f, std::span<const CodePointRange> ranges) {
  std::vector<Part> choices;
  const auto add = [&](char32_t first, char32_t last, CodePointRange range) {
    const CodePointRange part{std::max(first, range.first), std::min(last, range.last)};
    if (part.first <= part.last) choices.push_back(f.utf8(part));
  };
  for (const CodePointRange& range : ranges) {
    for (char32_t c = range.first; c <= std::min<char32_t>(range.last, 0x5C); ++c) {
      if (c < 0x20 || c == '"' || c == '\\') choices.push_back(f.literal(short_escape(c)));
    }
    add(0x20, 0x21, range);
    add(0x23, 0x5B, range);
    add(0x5D, 0x10FFFF, range);
  }
  return choices.empty() ? f.never() : f.either(choices);
}

ByteMachine plain_string_of_length(StringLength length, std::string_view place) {
  Fragments f(place);
  static constexpr CodePointRange kAll[] = {{0, 0x10FFFF}};
  const std::int64_t last = length.max == kNoLimit ? length.min : length.max;
  if (last > kMaxMachineStates) {
    fail(place, "got a length of {} beside a pattern, expected a smaller one", last);
  }
  Part part = byte(f, '"');
  const std::int32_t close = f.add_state();
  for (std::int64_t count = 0;; ++count) {
    if (count >= length.min) f.add_edge(part.exit, '"', '"', close);
    if (count == last) break;
    part = f.sequence(part, f.sequence(f.nothing(), plain_characters(f, kAll)));
  }
  if (length.max == kNoLimit) {
    const Part more = plain_characters(f, kAll);
    f.add_jump(part.exit, more.entry);
    f.add_jump(more.exit, part.exit);
  }
  return f.machine({part.entry, close});
}

ByteMachine one_of(std::span<const std::string> texts, std::string_view place) {
  Fragments f(place);
  std::vector<Part> choices;
  for (const std::string& text : texts) choices.push_back(f.literal(text));
  return f.machine(choices.empty() ? f.never() : f.either(choices));
}

ByteMachine open_key(std::span<const std::string> names, std::string_view place) {
  Fragments f(place);
  const Part characters[] = {f.utf8({0x20, 0x21}), f.utf8({0x23, 0x5B}), f.utf8({0x5D, 0x10FFFF})};
  const Part parts[] = {byte(f, '"'), f.star(f.either(characters)), byte(f, '"')};
  const ByteMachine all = f.machine(f.sequence(parts));
  if (names.empty()) return all;
  std::vector<std::string> taken;
  for (const std::string& name : names) taken.push_back(quoted(name));
  return difference(all, one_of(taken, place), place);
}

Part white_space(Fragments& f) {
  const auto up_to = [&f](char c, int count) {
    Part part = f.nothing();
    for (int i = 0; i < count; ++i) part = f.optional(f.sequence(byte(f, c), part));
    return part;
  };
  const Part indents[] = {up_to(' ', 40), up_to('\t', 10)};
  const Part choices[] = {f.nothing(), byte(f, ' '), f.sequence(byte(f, '\n'), f.either(indents))};
  return f.either(choices);
}

ByteMachine any_number() {
  Fragments f("number");
  const Part whole[] = {byte(f, '0'),
                        f.sequence(f.byte_range('1', '9'), digits(f, 0, kDecimalDigits - 1))};
  const Part fraction = f.sequence(byte(f, '.'), digits(f, 1, kDecimalDigits));
  const Part exponent[] = {bytes_of(f, "eE"), f.optional(bytes_of(f, "+-")), digits(f, 1, 2)};
  const Part parts[] = {f.optional(byte(f, '-')), f.either(whole), f.optional(fraction),
                        f.optional(f.sequence(exponent))};
  return f.machine(f.sequence(parts));
}

Decimal decimal_of(const Json& number) {
  Decimal out;
  if (number.is_number_unsigned()) {
    out.digits = number.get<std::uint64_t>();
    return out;
  }
  if (number.is_number_integer()) {
    const auto value = number.get<std::int64_t>();
    out.negative = value < 0;
    out.digits = out.negative ? std::uint64_t{0} - static_cast<std::uint64_t>(value)
                              : static_cast<std::uint64_t>(value);
    return out;
  }
  const double value = number.get<double>();
  out.negative = std::signbit(value);
  const double magnitude = std::abs(value);
  // Beyond 2^53 a double prints with fewer digits than it has; integers are compared with all of them.
  if (magnitude >= 0x1p53 && magnitude < 0x1p63) {
    out.digits = static_cast<std::uint64_t>(magnitude);
    return out;
  }
  char text[32];
  const auto end =
      std::to_chars(text, text + sizeof text, magnitude, std::chars_format::scientific).ptr;
  const std::string_view printed(text, static_cast<std::size_t>(end - text));
  const std::size_t e = printed.find('e');
  for (const char c : printed.substr(0, e)) {
    if (c != '.') out.digits = out.digits * 10 + static_cast<std::uint64_t>(c - '0');
  }
  const std::size_t point = printed.find('.');
  const int decimals = point == std::string_view::npos ? 0 : static_cast<int>(e - point) - 1;
  int exponent = 0;
  const char* from = printed.data() + e + 1;
  if (*from == '+') ++from;  // which from_chars does not take
  std::from_chars(from, end, exponent);
  out.exponent = exponent - decimals;
  return out;
}

ByteMachine number_in_range(const NumberRange& range, std::string_view place) {
  Fragments f(place);
  std::vector<Part> choices;
  const int all = range.integer ? kIntegerDigits : kDecimalDigits;
  for (int whole = 1; whole <= all; ++whole) {
    const int fraction = range.integer ? 0 : all - whole;
    std::int64_t low = -kSaturated, high = kSaturated;
    if (range.min) {
      low = range.exclusive_min ? scaled(*range.min, fraction, false) + 1
                                : scaled(*range.min, fraction, true);
    }
    if (range.max) {
      high = range.exclusive_max ? scaled(*range.max, fraction, true) - 1
                                 : scaled(*range.max, fraction, false);
    }
    const std::int64_t shortest = whole == 1 ? 0 : power_of_ten(whole - 1 + fraction);
    const std::int64_t longest = power_of_ten(whole + fraction) - 1;
    const std::int64_t first = std::max(low, shortest), last = std::min(high, longest);
    if (first <= last) {
      choices.push_back(DigitRange(f, whole, fraction, range.multiple_of).texts(first, last));
    }
    // The negative ones, without -0.
    const std::int64_t least = std::max({-high, shortest, std::int64_t{1}});
    const std::int64_t most = std::min(-low, longest);
    if (least <= most) {
      choices.push_back(f.sequence(
          byte(f, '-'), DigitRange(f, whole, fraction, range.multiple_of).texts(least, most)));
    }
  }
  return f.machine(choices.empty() ? f.never() : f.either(choices));
}

}  // namespace qx
