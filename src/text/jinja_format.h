// Python's two ways to format text: "%s" % x and "{}".format(x).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "text/jinja_runtime.h"
#include "text/jinja_value.h"

namespace qx::jinja {

// format % argument: a tuple gives several values, a dict the named ones.
Value format_percent(Runtime& rt, const Value& format, const Value& argument);
// format.format(...): fields with attributes and items, conversions, and the standard specification of strings and
// numbers.
Value format_braces(Runtime& rt, const Value& format, const Arguments& arguments);

// One number or text in the notation that both share.
struct FormatSpec {
  char32_t fill = ' ';
  char align = 0;   // < > ^ = or 0: the type's own
  char sign = '-';  // - + or space
  bool alternate = false;
  char grouping = 0;  // , or _ or 0
  std::size_t width = 0;
  int precision = -1;  // -1: not given
  char type = 0;       // 0: the type's own
};
std::string format_float(Runtime& rt, double value, const FormatSpec& spec);
std::string format_int(Runtime& rt, std::int64_t value, const FormatSpec& spec);

}  // namespace qx::jinja
