// Tests of the template engine's limits and of its text functions. What templates give is tested in
// chat_template_test.cpp.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/random.h"
#include "text/jinja_builtins.h"
#include "text/jinja_eval.h"
#include "text/jinja_parser.h"
#include "text/jinja_text.h"

namespace qx::jinja {
namespace {

// Small, so that hostile templates end at once.
Limits small_limits() {
  Limits limits;
  limits.steps = 200'000;
  limits.value_bytes = std::size_t{8} << 20;
  limits.output_bytes = std::size_t{1} << 20;
  return limits;
}

std::string run(const std::string& source, const Limits& limits = small_limits()) {
  const auto parsed = parse(source, "test");
  Runtime runtime(limits, "test");
  return render(*parsed, runtime, {});
}

std::string error_of(const std::string& source) {
  try {
    const std::string out = run(source);
    return "no error, output of " + std::to_string(out.size()) + " bytes";
  } catch (const Error& error) {
    return error.what();
  }
}

std::string times(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) {
    out += text;
  }
  return out;
}

void expect_error(const std::string& source, const std::string& part) {
  const std::string error = error_of(source);
  EXPECT_NE(error.find(part), std::string::npos) << source.substr(0, 200) << "\n" << error;
}

TEST(JinjaLimits, DeepSourceIsRefused) {
  const std::pair<const char*, const char*> brackets[] = {
      {"(", ")"},          {"[", "]"},          {"{1: ", "}"},
      {"not ", ""},        {"-", ""},           {"x[", "]"},
      {"f(", ")"},         {"1 is in(", ")"},   {"a if b else ", ""},
      {"{'a': [(", ")]}"}, {"x|map(x, a=", ")"}};
  for (const auto& [open, close] : brackets) {
    expect_error("{{ " + times(open, 20'000), "[test:1]");
    expect_error("{{ " + times(open, 2000) + "1" + times(close, 2000) + " }}", "deeper than");
  }
  expect_error(times("{% if x %}", 20'000), "deeper than");
  expect_error(times("{% for x in y %}", 500), "deeper than");
  expect_error(times("{% macro f() %}", 500), "deeper than");
  expect_error("{% set " + times("(", 5000) + "a" + times(")", 5000) + " = 1 %}", "deeper than");
  expect_error("{{ 1" + times(" + 1", 20'000) + " }}", "chained operations");
  expect_error("{{ x" + times(".a", 20'000) + " }}", "chained operations");
  expect_error("{{ x" + times("|e", 20'000) + " }}", "chained operations");
  expect_error("{{ 1" + times(" if 1", 20'000) + " }}", "chained operations");
}

TEST(JinjaLimits, LongFlatSourceIsFine) {
  EXPECT_EQ(run("{{ 1" + times(" ~ 1", 5000) + " }}"), times("1", 5001));
  EXPECT_EQ(run("{{ [" + times("1,", 5000) + "]|length }}"), "5000");
  EXPECT_EQ(run(times("{% if 0 %}{% endif %}a", 5000)), times("a", 5000));
  EXPECT_EQ(run("{% if 0 %}" + times("{% elif 0 %}", 3000) + "{% else %}z{% endif %}"), "z");
}

TEST(JinjaLimits, LoopsEnd) {
  const std::string loop = "{% for a in range(99999) %}";
  expect_error(loop + loop + loop + "{% endfor %}{% endfor %}{% endfor %}", "steps");
  expect_error(loop + loop + "x{% endfor %}{% endfor %}", "steps");
  expect_error(
      "{% set ns = namespace(x='a') %}" + loop + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
      "bytes");
  expect_error(
      "{% set ns = namespace(x=[0]) %}" + loop + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
      "bytes");
}

TEST(JinjaLimits, RecursionEnds) {
  expect_error("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "deeper than");
  expect_error("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "deeper than");
  expect_error(
      "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(25) }}",
      "steps");
  expect_error("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "deeper than");
  expect_error("{% macro f() %}{% call f() %}{% endcall %}{{ caller }}{% endmacro %}{{ f() }}",
               "deeper than");
}

TEST(JinjaLimits, ValuesStaySmall) {
  expect_error("{{ 'a' * 1000000000 }}", "expected");
  expect_error("{{ 'ab' * 9223372036854775807 }}", "expected");
  expect_error("{{ [1] * 1000000000 }}", "expected");
  expect_error("{{ range(1000000) }}", "range()");
  expect_error("{{ range(-9223372036854775807, 9223372036854775807) }}", "range()");
  expect_error("{{ ('a' * 10000).replace('a', 'b' * 10000) }}", "bytes");
  expect_error("{{ ('b' * 9999).join('a' * 9999) }}", "bytes");
  expect_error("{{ 'a'.center(1000000000) }}", "expected");
  expect_error("{{ 'a'.zfill(1000000000) }}", "expected");
  expect_error("{{ 'a'|center(1000000000) }}", "expected");
  expect_error("{{ 'a'|indent(1000000000) }}", "bytes");
  expect_error("{{ '%999999999d' % 1 }}", "bytes");
  expect_error("{{ '%99999999999d' % 1 }}", "expected");
  expect_error("{{ '%*d' % (9223372036854775807, 1) }}", "expected");
  expect_error("{{ '%.999999999f' % 1.5 }}", "precision");
  expect_error("{{ '{:999999999}'.format(1) }}", "bytes");
  expect_error("{{ '{:99999999999}'.format(1) }}", "expected");
  expect_error("{{ '{:.99999f}'.format(1.5) }}", "precision");
  expect_error("{{ [1]|batch(1000000000, 0)|list }}", "expected");
  expect_error("{{ [1]|slice(1000000000)|list }}", "expected");
  expect_error("{{ {'a': [1]}|tojson(indent=999999999) }}", "indent");
  expect_error("{% for x in range(9999) %}{{ 'a' * 1000 }}{% endfor %}", "bytes");
}

TEST(JinjaLimits, DeepValuesAreRefusedNotFollowed) {
  const std::string grow = "{% set ns = namespace(x=0) %}{% for i in range(5000) %}{% set ns.x = ";
  const std::string end = " %}{% endfor %}";
  for (const char* value : {"[ns.x]", "(ns.x,)", "{'a': ns.x}"}) {
    expect_error(grow + value + end + "{{ ns.x }}", "deeper than");
    expect_error(grow + value + end + "{{ ns.x|tojson }}", "deeper than");
    expect_error(grow + value + end + "{{ ns.x == [ns.x] or ns.x < [ns.x] or ns.x == ns.x }}", "");
    expect_error(grow + value + end + "{{ {ns.x: 1} }}", "[test:1]");
    EXPECT_EQ(run(grow + value + end + "ok"), "ok");
  }
  expect_error(
      "{% set ns = namespace(x=['a']) %}{% for i in range(5000) %}{% set ns.x = ns.x|map('upper')" +
          end + "{{ ns.x|list }}",
      "deeper than");
  EXPECT_EQ(run(grow + "namespace(y=ns.x)" + end + "ok"), "ok");
  expect_error("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", "deeper than");
  EXPECT_EQ(run("{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x == ns.x }}"), "True");
}

TEST(JinjaLimits, SharedValuesDoNotExplode) {
  std::string source =
      "{% set ns = namespace(x=['a', 'b']) %}{% for i in range(60) %}"
      "{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
  expect_error(source + "{{ ns.x }}", "expected");
  expect_error(source + "{{ ns.x|tojson|length }}", "expected");
  source =
      "{% set ns = namespace(x=('a', 'b')) %}{% for i in range(60) %}"
      "{% set ns.x = (ns.x, ns.x) %}{% endfor %}";
  expect_error(source + "{{ {ns.x: 1} }}", "steps");
}

TEST(JinjaLimits, SearchesAreLinear) {
  // A naive search would take 10^10 steps.
  const std::string text = "{% set t = 'a' * 200000 %}{% set n = 'a' * 100000 ~ 'b' %}";
  EXPECT_EQ(run(text + "{{ n in t }}{{ t.find(n) }}{{ t.rfind(n) }}{{ t.count(n) }}"
                       "{{ t.split(n)|length }}{{ t.replace(n, '')|length }}"),
            "False-1-101200000");
}

TEST(JinjaLimits, IntegersHave64Bits) {
  expect_error("{{ 9223372036854775807 + 1 }}", "64 bits");
  expect_error("{{ -9223372036854775807 - 2 }}", "64 bits");
  expect_error("{{ 9223372036854775807 * 2 }}", "64 bits");
  expect_error("{{ 2 ** 63 }}", "64 bits");
  expect_error("{{ 9223372036854775808 }}", "64 bits");
  expect_error("{{ 1e30|int }}", "64 bits");
  expect_error("{{ (-9223372036854775807 - 1)|abs }}", "64 bits");
  expect_error("{{ (-9223372036854775807 - 1) // -1 }}", "64 bits");
  EXPECT_EQ(
      run("{{ (-9223372036854775807 - 1) % -1 }} {{ (-9223372036854775807 - 1) // 3 }} "
          "{{ (-9223372036854775807 - 1) % 3 }} {{ '%x' % (-9223372036854775807 - 1) }} "
          "{{ 'abc'[-9223372036854775807 - 1:] }} {{ [1, 2, 3][::-9223372036854775807 - 1] }} "
          "{{ range(9223372036854775800, 9223372036854775807)[::3]|list }}"),
      "0 -3074457345618258603 1 -8000000000000000 abc [3] "
      "[9223372036854775800, 9223372036854775803, 9223372036854775806]");
}

TEST(JinjaErrors, NameTheLine) {
  expect_error("a\nb\n{{ 1 / 0 }}", "[test:3]");
  expect_error("a\n{% if 1 %}\n{{ x.y }}\n{% endif %}", "[test:3]");
  expect_error("{# a\nb #}\n{{ '\n' }}{{ x.y }}", "[test:4]");
  expect_error("{% raw %}\n\n{% endraw %}{{ x.y }}", "[test:3]");
  expect_error("a\r\nb\r{{ x.y }}", "[test:3]");
  expect_error("a\n  \n{%- if true %}{{ x.y }}{% endif %}", "[test:3]");
}

TEST(JinjaErrors, RandomBytesNeverCrash) {
  Random random(7);
  const std::string alphabet = "{}%#-+|()[].,:=<>~*/\\'\" \nabifxyin01for end";
  for (int round = 0; round < 20'000; ++round) {
    std::string source = round % 2 == 0 ? "{{ " : "{% ";
    for (int i = 0; i < 30; ++i) {
      source.push_back(alphabet[random.below(alphabet.size())]);
    }
    error_of(source + (round % 2 == 0 ? " }}" : " %}"));
  }
}

TEST(JinjaText, FloatsPrintAsInPython) {
  EXPECT_EQ(float_repr(0.1), "0.1");
  EXPECT_EQ(float_repr(1e16), "1e+16");
  EXPECT_EQ(float_repr(1e15), "1000000000000000.0");
  EXPECT_EQ(float_repr(123456.789), "123456.789");
  EXPECT_EQ(float_repr(1e-4), "0.0001");
  EXPECT_EQ(float_repr(1.5e-5), "1.5e-05");
  EXPECT_EQ(float_repr(-0.0), "-0.0");
  EXPECT_EQ(float_repr(1e300), "1e+300");
  EXPECT_EQ(float_repr(5e-324), "5e-324");
  EXPECT_EQ(float_repr(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(float_repr(std::nan("")), "nan");
}

TEST(JinjaText, ParsesNumbersAsPython) {
  EXPECT_EQ(parse_float(" 1_0.5e1 "), 105.0);
  EXPECT_EQ(parse_float("-.5"), -0.5);
  EXPECT_EQ(parse_float("1e999"), std::numeric_limits<double>::infinity());
  EXPECT_FALSE(parse_float("1__0"));
  EXPECT_FALSE(parse_float("0x10"));
  EXPECT_FALSE(parse_float(""));
  EXPECT_FALSE(parse_float("1e"));
  EXPECT_EQ(parse_int("-0x1F", 16), -31);
  EXPECT_EQ(parse_int("0b11", 0), 3);
  EXPECT_EQ(parse_int("-9223372036854775808", 10), std::numeric_limits<std::int64_t>::min());
  EXPECT_FALSE(parse_int("9223372036854775808", 10));
  EXPECT_FALSE(parse_int("--1", 10));
  EXPECT_FALSE(parse_int("1 2", 10));
}

TEST(JinjaText, ReplacesIllFormedParts) {
  EXPECT_EQ(to_valid_utf8("a\x80z"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(to_valid_utf8("\xF0\x9F\x99"), "\xEF\xBF\xBD");
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(to_valid_utf8("\xC0\xAF"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_TRUE(valid_utf8("a\xC3\xA9\xF0\x9F\x99\x82"));
  EXPECT_FALSE(valid_utf8("\xF4\x90\x80\x80"));
}

TEST(JinjaText, FindsLikeTheLibrary) {
  Random random(3);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    std::string needle;
    for (std::size_t i = random.below(200); i > 0; --i) {
      text.push_back(random.below(8) == 0 ? 'b' : 'a');
    }
    for (std::size_t i = random.below(30); i > 0; --i) {
      needle.push_back(random.below(12) == 0 ? 'b' : 'a');
    }
    EXPECT_EQ(find_text(text, needle, 0), text.find(needle)) << text << " " << needle;
    EXPECT_EQ(rfind_text(text, needle), text.rfind(needle)) << text << " " << needle;
  }
}

TEST(JinjaText, Dates) {
  EXPECT_EQ(format_date("2024-07-26", "%a %d %b %Y %j %U %W %V"), "Fri 26 Jul 2024 208 29 30 30");
  EXPECT_EQ(format_date("2021-01-01", "%A %G-W%V-%u"), "Friday 2020-W53-5");
  EXPECT_EQ(format_date("2018-12-31", "%G-W%V %j"), "2019-W01 365");
  EXPECT_EQ(format_date("2000-03-01", "%a %j %-m/%-d/%y %e|%Q|%"), "Wed 061 3/1/00  1|%Q|%");
}

}  // namespace
}  // namespace qx::jinja
