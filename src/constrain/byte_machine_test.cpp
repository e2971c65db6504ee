// Tests of automata over bytes against plain definitions: UTF-8, numbers in ranges, patterns,
// products.
// SPDX-License-Identifier: Apache-2.0
#include "constrain/byte_machine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "base/error.h"
#include "base/random.h"
#include "constrain/json_machines.h"
#include "constrain/pattern.h"
#include "text/unicode.h"

namespace qx {
namespace {

std::string utf8_of(char32_t c) {
  std::string out;
  append_utf8(out, c);
  return out;
}

ByteMachine utf8_machine(CodePointRange range) {
  Fragments f("test");
  return f.machine(f.utf8(range));
}

TEST(ByteMachine, Utf8OfRanges) {
  Random random(1);
  std::vector<CodePointRange> ranges = {{0, 0x10FFFF},   {0x7F, 0x80},     {0x7FF, 0x800},
                                        {'a', 'z'},      {0xD7FF, 0xE000}, {0xFFFF, 0x10000},
                                        {0xD800, 0xDFFF}};
  for (int i = 0; i < 12; ++i) {
    const auto a = static_cast<char32_t>(random.below(i % 2 == 0 ? 0x110000 : 0x3000));
    ranges.push_back({a, a + static_cast<char32_t>(random.below(0x110000 - a))});
  }
  for (const CodePointRange& range : ranges) {
    const ByteMachine machine = utf8_machine(range);
    int wrong = 0;
    for (char32_t c = 0; c <= 0x10FFFF; c += c < 0x3000 ? 1 : 7) {
      if (c >= 0xD800 && c < 0xE000) continue;
      const bool expected = c >= range.first && c <= range.last;
      wrong += (!machine.empty() && machine.accepts(utf8_of(c))) != expected;
    }
    EXPECT_EQ(wrong, 0) << std::uint32_t{range.first} << " to " << std::uint32_t{range.last};
  }
}

TEST(ByteMachine, Utf8TakesNothingIllFormed) {
  const ByteMachine machine = utf8_machine({0, 0x10FFFF});
  Random random(2);
  for (int i = 0; i < 300'000; ++i) {
    std::string bytes(1 + random.below(4), ' ');
    for (char& c : bytes)
      c = static_cast<char>(random.below(4) == 0 ? random.below(256) : 0x80 + random.below(128));
    const Utf8Step step = read_utf8(bytes, 0);
    const bool one = step.valid && static_cast<std::size_t>(step.length_bytes) == bytes.size();
    ASSERT_EQ(machine.accepts(bytes), one);
  }
}

TEST(ByteMachine, StringCharacters) {
  const ByteMachine machine = any_string_character();
  for (const char* good : {"a", "\xC3\xA9", "\\n", "\\\"", "\\/", "\\u00e9", "\\uD7FF", "\\ue000",
                           "\\ud83d\\uDE00", "\x7F", "\xF0\x9F\x98\x80"}) {
    EXPECT_TRUE(machine.accepts(good)) << good;
  }
  for (const char* bad : {"\"", "\\", "\n", "\\x", "\\ud83d", "\\ude00", "\\ud83d\\u0041", "ab",
                          "\xED\xA0\x80", "\xC0\x80", "\\u00g0"}) {
    EXPECT_FALSE(machine.accepts(bad)) << bad;
  }
}

TEST(ByteMachine, ProductsAndNames) {
  const std::string words[] = {"a", "ab", "b"}, other[] = {"ab", "c"};
  const ByteMachine a = one_of(words, "t"), b = one_of(other, "t");
  const ByteMachine both = intersection(a, b, "t"), only = difference(a, b, "t");
  for (const char* text : {"a", "ab", "b", "c", "", "abc"}) {
    EXPECT_EQ(both.accepts(text), a.accepts(text) && b.accepts(text)) << text;
    EXPECT_EQ(only.accepts(text), a.accepts(text) && !b.accepts(text)) << text;
  }
  EXPECT_TRUE(intersection(a, one_of({}, "t"), "t").empty());
  EXPECT_TRUE(difference(a, a, "t").empty());
  const std::string names[] = {"id", "na\"me"};
  const ByteMachine key = open_key(names, "t");
  EXPECT_TRUE(key.accepts("\"i\""));
  EXPECT_TRUE(key.accepts("\"idx\""));
  EXPECT_TRUE(key.accepts("\"\""));
  EXPECT_FALSE(key.accepts("\"id\""));
  EXPECT_FALSE(key.accepts("\"\\u0069d\""));  // which would be id again
}

// Number texts that the builder may write, in [-999, 999] with up to two decimals.
std::vector<std::string> number_texts() {
  std::vector<std::string> out;
  for (int whole = 0; whole <= 999; ++whole) {
    for (const char* sign : {"", "-"}) {
      const std::string text = sign + std::to_string(whole);
      out.push_back(text);
      for (int f = 0; f<100; f += whole> 20 ? 9 : 1) {
        if (f < 10) out.push_back(text + "." + std::to_string(f));
        out.push_back(text + "." + (f < 10 ? "0" : "") + std::to_string(f));
      }
    }
  }
  return out;
}

TEST(ByteMachine, NumbersInRange) {
  const std::vector<std::string> texts = number_texts();
  Random random(3);
  for (int round = 0; round < 60; ++round) {
    NumberRange range;
    range.integer = random.below(3) == 0;
    const auto bound = [&] {
      const double value = static_cast<double>(random.below(4000)) - 2000;
      return std::round(value) / (random.below(2) == 0 ? 1 : 100);
    };
    const bool has_min = random.below(4) != 0, has_max = random.below(4) != 0;
    const double min = bound(), max = bound();
    if (has_min) range.min = decimal_of(min);
    if (has_max) range.max = decimal_of(max);
    range.exclusive_min = random.below(2) == 0;
    range.exclusive_max = random.below(2) == 0;
    if (range.integer && random.below(2) == 0) {
      range.multiple_of = 1 + static_cast<std::int64_t>(random.below(30));
    }
    const ByteMachine machine = number_in_range(range, "t");
    for (const std::string& text : texts) {
      const double value = std::stod(text);
      bool expected = !(has_min && (range.exclusive_min ? value <= min : value < min)) &&
                      !(has_max && (range.exclusive_max ? value >= max : value > max));
      if (range.integer) {
        expected = expected && text.find('.') == std::string::npos &&
                   std::fmod(value, static_cast<double>(range.multiple_of)) == 0;
      }
      if (text[0] == '-' && value == 0) expected = false;  // -0 is never written
      ASSERT_EQ(!machine.empty() && machine.accepts(text), expected)
          << text << " in " << min << " " << max << " " << range.integer << range.multiple_of;
    }
    for (const char* bad : {"", "-", "01", "1.", ".5", "+1", "1e2", "--1", "1.2.3"}) {
      EXPECT_FALSE(!machine.empty() && machine.accepts(bad)) << bad;
    }
  }
}

TEST(ByteMachine, NumbersAtTheEdge) {
  const auto in = [](const char* min, bool exclusive, bool integer, const std::string& text) {
    NumberRange range;
    range.integer = integer;
    range.min = decimal_of(parse_json(min, "t"));
    range.exclusive_min = exclusive;
    const ByteMachine machine = number_in_range(range, "t");
    return !machine.empty() && machine.accepts(text);
  };
  EXPECT_TRUE(in("9007199254740993", false, true, "9007199254740993"));
  EXPECT_FALSE(in("9007199254740993", true, true, "9007199254740993"));
  EXPECT_TRUE(in("9007199254740993", true, true, "9007199254740994"));
  EXPECT_TRUE(in("1e-9", false, false, "0.000000001"));
  EXPECT_FALSE(in("1e-9", true, false, "0.000000001"));
  EXPECT_TRUE(in("1e-9", true, false, "0.0000000011"));
  EXPECT_FALSE(in("1e300", false, false, "999999999999999"));
  EXPECT_TRUE(in("-1e300", false, false, "-999999999999999"));
  EXPECT_TRUE(in("0.1", false, false, "0.1"));
  EXPECT_FALSE(in("0.1", true, false, "0.10"));
  EXPECT_TRUE(in("1.5", false, true, "2"));
  EXPECT_FALSE(in("1.5", false, true, "1"));
  EXPECT_TRUE(in("-0.5", false, true, "0"));
}

TEST(ByteMachine, AnyNumberIsJson) {
  const ByteMachine machine = any_number();
  for (const char* good : {"0", "-0", "12", "-1.5", "1e5", "1E+10", "0.0e-9"}) {
    EXPECT_TRUE(machine.accepts(good)) << good;
  }
  for (const char* bad : {"", "-", "01", "1.", "1e", "1e999", "+1", "Infinity"}) {
    EXPECT_FALSE(machine.accepts(bad)) << bad;
  }
}

bool matches(const std::string& pattern, const std::string& text) {
  return strings_matching(pattern, "t").accepts(plain_spelling(text));
}

TEST(Pattern, AgreesWithStandardLibrary) {
  const char* patterns[] = {"^a*b?$",   "abc",          "^(foo|ba[rz])+$", "^[^a-c]{2,3}$",
                            "\\d+",     "^\\w+-\\d$",   "a|^b|c$",         "^$",
                            "",         "^a{2}$",       "^a{2,}b",         "(ab)*?c",
                            "^\\.\\*$", "[a-]c",        "^[\\d_]+$",       "^(?:a|b){2}",
                            "x.y",      "\\x41\\u0042", "^[]a]",           "^\\s$"};
  Random random(4);
  std::vector<std::string> texts = {"", "AB", "foobar", "aab", ".*", "-c", "x\ny", " ", "]"};
  const std::string alphabet = "abcfoorz.-_ 0189xyAB]*";
  for (int i = 0; i < 3000; ++i) {
    std::string text(random.below(7), ' ');
    for (char& c : text) c = alphabet[random.below(alphabet.size())];
    texts.push_back(text);
  }
  for (const char* pattern : patterns) {
    if (std::string_view(pattern) == "^[]a]") continue;  // an empty bracket there
    const std::regex reference(pattern);
    const ByteMachine machine = strings_matching(pattern, "t");
    for (const std::string& text : texts) {
      ASSERT_EQ(machine.accepts(plain_spelling(text)), std::regex_search(text, reference))
          << pattern << " on '" << text << "'";
    }
  }
}

TEST(Pattern, CharactersBeyondAscii) {
  EXPECT_TRUE(matches("^.$", "é"));
  EXPECT_TRUE(matches("^[à-ü]+$", "éà"));
  EXPECT_FALSE(matches("^[à-ü]+$", "z"));
  EXPECT_TRUE(matches("^[^x]$", "😀"));
  EXPECT_TRUE(matches("^\"\\\\$", "\"\\"));
  EXPECT_TRUE(matches("^\\n\\t\\x01$", "\n\t\x01"));
  EXPECT_FALSE(matches("^.$", "\n"));
  // Where ECMA-262 and Python differ, the text is not generated.
  EXPECT_FALSE(matches("^\\D$", "é"));
  EXPECT_FALSE(matches("^[^\\d]$", "٣"));
  EXPECT_FALSE(matches("^\\S$", "\x1C"));
}

TEST(Pattern, RefusesByName) {
  for (const char* pattern :
       {"(?=a)",  "(?<n>a)", "\\bword", "(a)\\1", "a**",   "*a",  "[]",     "[z-a]",
        "a{3,2}", "a{2000}", "(",       ")",      "a(^b)", "a$b", "[^\\D]", "\\",
        "\\p{L}", "a{",      "\\ud83d", "[a",     "\\u12", "(a$)"}) {
    try {
      strings_matching(pattern, "#/x");
      FAIL() << pattern;
    } catch (const Error& e) {
      EXPECT_NE(std::string_view(e.what()).find("[#/x] pattern: got "), std::string_view::npos)
          << e.what();
    }
  }
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "(";
  EXPECT_THROW(strings_matching(deep, "t"), Error);
  EXPECT_THROW(strings_matching("((a{1000}){1000}){1000}", "t"), Error);
  EXPECT_THROW(strings_matching("^(a|b)*a(a|b){20}$", "t"), Error);  // 2^20 states
}

}  // namespace
}  // namespace qx
