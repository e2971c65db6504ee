// The texts of JSON's scalars as automata: strings, numbers, fixed values, white space.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "constrain/byte_machine.h"
#include "io/json.h"

namespace qx {

// One character inside a JSON string in any spelling that this library writes: its UTF-8, or an escape.
// Escaped surrogates come in pairs only.
ByteMachine any_string_character();

// Strings of min to max characters (code points, as JSON Schema counts them), between quotes.
constexpr std::int64_t kNoLimit = -1;
struct StringLength {
  std::int64_t min = 0, max = kNoLimit;
};
constexpr std::int64_t kMaxStringLength = std::int64_t{1} << 20;  // longer limits are read as this

// Strings, each in one spelling only: characters as they are, escapes where JSON demands them. Used where
// the text has a pattern. The range must not hold surrogates.
Fragments::Part plain_characters(Fragments& fragments, std::span<const CodePointRange> ranges);

// Counts the characters of a string whose characters each have one spelling: the texts of min to max of
// them, with quotes. Meant for intersections.
ByteMachine plain_string_of_length(StringLength length, std::string_view place);

// Keys that a schema leaves open: quotes around any characters that need no escape, without the names.
ByteMachine open_key(std::span<const std::string> names, std::string_view place);

// One of the texts.
ByteMachine one_of(std::span<const std::string> texts, std::string_view place);

// Nothing, a space, or a new line and an indent: what may stand between the parts of an object or array.
Fragments::Part white_space(Fragments& fragments);

// Any number that a double holds: up to 15 digits before and after the point, an exponent of two digits.
ByteMachine any_number();

// A decimal number: digits * 10^exponent, with a sign.
struct Decimal {
  bool negative = false;
  std::uint64_t digits = 0;
  int exponent = 0;
};
// An integer as it is; another number as the decimal that its double prints as (the shortest that reads back).
Decimal decimal_of(const Json& number);

struct NumberRange {
  bool integer = false;
  std::optional<Decimal> min, max;
  bool exclusive_min = false, exclusive_max = false;
  std::int64_t multiple_of = 1;  // for integers; 1 to kMaxMultiple
};
constexpr std::int64_t kMaxMultiple = 1000;

// Numbers of a range, without exponent: integers of up to 18 digits; others of up to 15 digits in all, so that
// different texts are different doubles and a bound that they keep as decimals is kept by their doubles. May be
// empty(): no such number.
ByteMachine number_in_range(const NumberRange& range, std::string_view place);

}  // namespace qx
