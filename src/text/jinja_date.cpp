// strftime for one fixed date, in the C locale (jinja_builtins.h).
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/jinja_builtins.h"
#include "text/jinja_text.h"

namespace qx::jinja {

namespace {

constexpr std::array<std::string_view, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                   "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> kMonths = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December"};

struct Date {
  int year, month, day;  // from 1
  int weekday;           // from Sunday, 0
  int yearday;           // from 0
};

bool leap(int year) {
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

Date parse_date(std::string_view text) {
  const auto number = [&](std::size_t at, std::size_t size) {
    return static_cast<int>(parse_int(text.substr(at, size), 10).value_or(1));
  };
  Date date{number(0, 4), number(5, 2), number(8, 2), 0, 0};
  constexpr std::array<int, 12> kDaysOf = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  for (int m = 1; m < date.month; ++m) {
    date.yearday += kDaysOf[m - 1] + (m == 2 && leap(date.year) ? 1 : 0);
  }
  date.yearday += date.day - 1;
  const int past = date.year - 1;  // years since 1 January of year 1, a Monday
  date.weekday = (past * 365 + past / 4 - past / 100 + past / 400 + date.yearday + 1) % 7;
  return date;
}

// ISO 8601: week 1 holds the year's first Thursday.
std::array<int, 2> iso_week(const Date& date) {
  const int monday_based = (date.weekday + 6) % 7;
  const int week = (date.yearday - monday_based + 10) / 7;
  const auto weeks_in = [](int year) {
    const auto first = [](int y) { return (y + y / 4 - y / 100 + y / 400) % 7; };
    return first(year) == 4 || first(year - 1) == 3 ? 53 : 52;
  };
  if (week < 1) {
    return {date.year - 1, weeks_in(date.year - 1)};
  }
  return week > weeks_in(date.year) ? std::array{date.year + 1, 1} : std::array{date.year, week};
}

struct Field {
  std::string text;
  int number = 0;
  int width = 0;  // 0: text; else the digits of the number
  char pad = '0';
};

Field text_field(std::string_view text) {
  return {std::string(text), 0, 0, '0'};
}

// Composite directives expand to others.
std::string_view composite(char directive) {
  switch (directive) {
    case 'c':
      return "%a %b %e %H:%M:%S %Y";
    case 'D':
    case 'x':
      return "%m/%d/%y";
    case 'F':
      return "%Y-%m-%d";
    case 'r':
      return "%I:%M:%S %p";
    case 'R':
      return "%H:%M";
    case 'T':
    case 'X':
      return "%H:%M:%S";
    default:
      return "";
  }
}

std::optional<Field> simple_field(const Date& date, char directive) {
  const std::array<int, 2> iso = iso_week(date);
  const auto month = kMonths[static_cast<std::size_t>(date.month - 1)];
  const auto day = kDays[static_cast<std::size_t>(date.weekday)];
  switch (directive) {
    case 'a':
      return text_field(day.substr(0, 3));
    case 'A':
      return text_field(day);
    case 'b':
    case 'h':
      return text_field(month.substr(0, 3));
    case 'B':
      return text_field(month);
    case 'C':
      return Field{"", date.year / 100, 2};
    case 'd':
      return Field{"", date.day, 2};
    case 'e':
      return Field{"", date.day, 2, ' '};
    case 'f':
      return Field{"", 0, 6};
    case 'g':
      return Field{"", iso[0] % 100, 2};
    case 'G':
      return Field{"", iso[0], 4};
    case 'H':
    case 'M':
    case 'S':
      return Field{"", 0, 2};
    case 'k':
      return Field{"", 0, 2, ' '};
    case 'I':
      return Field{"", 12, 2};
    case 'l':
      return Field{"", 12, 2, ' '};
    case 'j':
      return Field{"", date.yearday + 1, 3};
    case 'm':
      return Field{"", date.month, 2};
    case 'n':
      return text_field("\n");
    case 'p':
      return text_field("AM");
    case 'P':
      return text_field("am");
    case 't':
      return text_field("\t");
    case 'u':
      return Field{"", date.weekday == 0 ? 7 : date.weekday, 1};
    case 'U':
      return Field{"", (date.yearday + 7 - date.weekday) / 7, 2};
    case 'V':
      return Field{"", iso[1], 2};
    case 'w':
      return Field{"", date.weekday, 1};
    case 'W':
      return Field{"", (date.yearday + 7 - (date.weekday + 6) % 7) / 7, 2};
    case 'y':
      return Field{"", date.year % 100, 2};
    case 'Y':
      return Field{"", date.year, 4};
    case 'z':
    case 'Z':
      return text_field("");  // the date has no time zone
    case '%':
      return text_field("%");
    default:
      return std::nullopt;
  }
}

std::string render_field(const Field& field, char flag) {
  if (field.width == 0) {
    return flag == '^' || flag == '#' ? upper(field.text) : field.text;
  }
  const char pad = flag == '_' ? ' ' : flag == '0' ? '0' : field.pad;
  std::string digits = std::to_string(field.number);
  const auto width = flag == '-' ? std::size_t{0} : static_cast<std::size_t>(field.width);
  return digits.size() < width ? std::string(width - digits.size(), pad) + digits : digits;
}

}  // namespace

std::string format_date(std::string_view date_text, std::string_view format) {
  const Date date = parse_date(date_text);
  std::string out;
  for (std::size_t pos = 0; pos < format.size(); ++pos) {
    if (format[pos] != '%') {
      out.push_back(format[pos]);
      continue;
    }
    const std::size_t start = pos++;
    const bool flagged = pos < format.size() &&
                         std::string_view("-_0^#").find(format[pos]) != std::string_view::npos;
    const char flag = flagged ? format[pos++] : '\0';
    const char directive = pos < format.size() ? format[pos] : '\0';
    if (const std::string_view expanded = composite(directive); !expanded.empty()) {
      out += format_date(date_text, expanded);
    } else if (const std::optional<Field> field = simple_field(date, directive)) {
      out += render_field(*field, flag);
    } else {
      out += format.substr(start, pos + 1 - start);  // unknown: stays, as in the C library
    }
  }
  return out;
}

}  // namespace qx::jinja
