// SPDX-License-Identifier: Apache-2.0
#include "base/parse_double.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <locale>
#include <string>

namespace qx {
namespace {

TEST(ParseDouble, ReadsDecimalNumbersToTheLastBit) {
  EXPECT_EQ(parse_double("0.1"), 0.1);
  EXPECT_EQ(parse_double("-12.345678901234567"), -12.345678901234567);
  EXPECT_EQ(parse_double("+5"), 5.0);
  EXPECT_EQ(parse_double(".5"), 0.5);
  EXPECT_EQ(parse_double("5."), 5.0);
  EXPECT_EQ(parse_double("1e-3"), 1e-3);
  EXPECT_EQ(parse_double("1.7976931348623157E+308"), std::numeric_limits<double>::max());
  EXPECT_EQ(parse_double("4.9406564584124654e-324"), std::numeric_limits<double>::denorm_min());
  EXPECT_EQ(parse_double("1e-999"), 0.0);
  EXPECT_TRUE(std::signbit(parse_double("-0").value_or(1)));
  EXPECT_EQ(parse_double(std::string(400, '0') + "7"), 7.0);
}

TEST(ParseDouble, RefusesEverythingElse) {
  for (const char* text :
       {"",    " 1",    "1 ",  "1x",  "+",    "-",   ".",    "e5",    "1e",     "1e+",
        "--1", "1.2.3", "1,5", "inf", "-inf", "nan", "0x10", "1e999", "-1e999", "1_0"}) {
    EXPECT_FALSE(parse_double(text).has_value()) << text;
  }
  EXPECT_FALSE(parse_double(std::string_view("1\0", 2)).has_value());
}

TEST(ParseDouble, ANumberMayBeFollowed) {
  EXPECT_EQ(decimal_length("39.6% (+0.6)"), 4u);
  EXPECT_EQ(decimal_length("5GB"), 1u);
  EXPECT_EQ(decimal_length("1e"), 1u);
  EXPECT_EQ(decimal_length("1e+x"), 1u);
  EXPECT_EQ(decimal_length("-2.5e3 GB"), 6u);
  EXPECT_EQ(decimal_length("-."), 0u);
  EXPECT_EQ(decimal_length(""), 0u);
}

// A comma as the decimal point, as a program that embeds the library may have set it.
class CommaPoint : public std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
};

TEST(ParseDouble, LocalesDoNotMatter) {
  const std::locale before = std::locale::global(std::locale(std::locale(), new CommaPoint));
  EXPECT_EQ(parse_double("1.5"), 1.5);
  std::locale::global(before);
}

}  // namespace
}  // namespace qx
