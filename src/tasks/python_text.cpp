// Python's string operations. Source of the rules: the Python library reference (str) and Unicode's
// SpecialCasing.txt and DerivedCoreProperties.txt.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.h"

namespace qx {
namespace {

// One decoded character and the bytes that it came from. A stray byte has valid == false.
struct Character {
  char32_t code = 0;
  std::size_t begin = 0, bytes = 0;
  bool valid = false;
};

Character decode_at(std::string_view text, std::size_t begin) {
  utf8proc_int32_t code = -1;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + begin;
  const utf8proc_ssize_t n =
      utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size() - begin), &code);
  if (n <= 0) return {static_cast<unsigned char>(text[begin]), begin, 1, false};
  return {static_cast<char32_t>(code), begin, static_cast<std::size_t>(n), true};
}

std::vector<Character> decode_all(std::string_view text) {
  std::vector<Character> characters;
  for (std::size_t i = 0; i < text.size(); i += characters.back().bytes) {
    characters.push_back(decode_at(text, i));
  }
  return characters;
}

void append_utf8(std::string& out, char32_t c) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const utf8proc_ssize_t n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(n));
}

// Characters whose title case is several characters (SpecialCasing.txt, unconditional mappings).
struct TitleCase {
  char32_t from;
  std::array<char32_t, 3> to;  // zero-terminated when shorter
};
constexpr TitleCase kTitleCases[] = {
    {0x00DF, {0x0053, 0x0073}},         {0x0149, {0x02BC, 0x004E}},
    {0x01F0, {0x004A, 0x030C}},         {0x0390, {0x0399, 0x0308, 0x0301}},
    {0x03B0, {0x03A5, 0x0308, 0x0301}}, {0x0587, {0x0535, 0x0582}},
    {0x1E96, {0x0048, 0x0331}},         {0x1E97, {0x0054, 0x0308}},
    {0x1E98, {0x0057, 0x030A}},         {0x1E99, {0x0059, 0x030A}},
    {0x1E9A, {0x0041, 0x02BE}},         {0x1F50, {0x03A5, 0x0313}},
    {0x1F52, {0x03A5, 0x0313, 0x0300}}, {0x1F54, {0x03A5, 0x0313, 0x0301}},
    {0x1F56, {0x03A5, 0x0313, 0x0342}}, {0x1FB2, {0x1FBA, 0x0345}},
    {0x1FB4, {0x0386, 0x0345}},         {0x1FB6, {0x0391, 0x0342}},
    {0x1FB7, {0x0391, 0x0342, 0x0345}}, {0x1FC2, {0x1FCA, 0x0345}},
    {0x1FC4, {0x0389, 0x0345}},         {0x1FC6, {0x0397, 0x0342}},
    {0x1FC7, {0x0397, 0x0342, 0x0345}}, {0x1FD2, {0x0399, 0x0308, 0x0300}},
    {0x1FD3, {0x0399, 0x0308, 0x0301}}, {0x1FD6, {0x0399, 0x0342}},
    {0x1FD7, {0x0399, 0x0308, 0x0342}}, {0x1FE2, {0x03A5, 0x0308, 0x0300}},
    {0x1FE3, {0x03A5, 0x0308, 0x0301}}, {0x1FE4, {0x03A1, 0x0313}},
    {0x1FE6, {0x03A5, 0x0342}},         {0x1FE7, {0x03A5, 0x0308, 0x0342}},
    {0x1FF2, {0x1FFA, 0x0345}},         {0x1FF4, {0x038F, 0x0345}},
    {0x1FF6, {0x03A9, 0x0342}},         {0x1FF7, {0x03A9, 0x0342, 0x0345}},
    {0xFB00, {0x0046, 0x0066}},         {0xFB01, {0x0046, 0x0069}},
    {0xFB02, {0x0046, 0x006C}},         {0xFB03, {0x0046, 0x0066, 0x0069}},
    {0xFB04, {0x0046, 0x0066, 0x006C}}, {0xFB05, {0x0053, 0x0074}},
    {0xFB06, {0x0053, 0x0074}},         {0xFB13, {0x0544, 0x0576}},
    {0xFB14, {0x0544, 0x0565}},         {0xFB15, {0x0544, 0x056B}},
    {0xFB16, {0x054E, 0x0576}},         {0xFB17, {0x0544, 0x056D}},
};

void append_title(std::string& out, char32_t c) {
  const auto* found =
      std::lower_bound(std::begin(kTitleCases), std::end(kTitleCases), c,
                       [](const TitleCase& t, char32_t code) { return t.from < code; });
  if (found != std::end(kTitleCases) && found->from == c) {
    for (const char32_t part : found->to) {
      if (part != 0) append_utf8(out, part);
    }
    return;
  }
  append_utf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
}

struct Range {
  char32_t first, last;
};

template <std::size_t N>
bool in_ranges(const Range (&ranges)[N], char32_t c) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [c](const Range& r) { return r.first <= c && c <= r.last; });
}

// Unicode's Other_Lowercase and Other_Uppercase: cased although no letter of category Ll, Lu or Lt.
constexpr Range kOtherCased[] = {
    {0x00AA, 0x00AA},   {0x00BA, 0x00BA},   {0x02B0, 0x02B8},   {0x02C0, 0x02C1}, {0x02E0, 0x02E4},
    {0x0345, 0x0345},   {0x037A, 0x037A},   {0x1D2C, 0x1D6A},   {0x1D78, 0x1D78}, {0x1D9B, 0x1DBF},
    {0x2071, 0x2071},   {0x207F, 0x207F},   {0x2090, 0x209C},   {0x2160, 0x217F}, {0x24B6, 0x24E9},
    {0x2C7C, 0x2C7D},   {0xA69C, 0xA69D},   {0xA770, 0xA770},   {0xA7F8, 0xA7F9}, {0xAB5C, 0xAB5F},
    {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189},
};

// Punctuation inside words (Word_Break MidLetter, MidNumLet, Single_Quote): ignored between
// letters.
constexpr Range kWordPunctuation[] = {
    {0x0027, 0x0027}, {0x002E, 0x002E}, {0x003A, 0x003A}, {0x00B7, 0x00B7},
    {0x0387, 0x0387}, {0x055F, 0x055F}, {0x05F4, 0x05F4}, {0x2018, 0x2019},
    {0x2024, 0x2024}, {0x2027, 0x2027}, {0xFE13, 0xFE13}, {0xFE52, 0xFE52},
    {0xFE55, 0xFE55}, {0xFF07, 0xFF07}, {0xFF0E, 0xFF0E}, {0xFF1A, 0xFF1A},
};

bool is_cased(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
      return true;
    default:
      return in_ranges(kOtherCased, c);
  }
}

bool is_case_ignorable(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return in_ranges(kWordPunctuation, c);
  }
}

// Final_Sigma of SpecialCasing.txt: a cased letter before, none after, ignorable ones skipped.
bool is_final_sigma(const std::vector<Character>& text, std::size_t at) {
  std::size_t before = at;
  while (before > 0 && text[before - 1].valid && is_case_ignorable(text[before - 1].code)) --before;
  if (before == 0 || !text[before - 1].valid || !is_cased(text[before - 1].code)) return false;
  std::size_t after = at + 1;
  while (after < text.size() && text[after].valid && is_case_ignorable(text[after].code)) ++after;
  return after == text.size() || !text[after].valid || !is_cased(text[after].code);
}

void append_lower(std::string& out, const std::vector<Character>& text, std::size_t at) {
  constexpr char32_t kCapitalSigma = 0x03A3, kSmallSigma = 0x03C3, kFinalSigma = 0x03C2;
  constexpr char32_t kCapitalIWithDot = 0x0130, kDotAbove = 0x0307;
  const char32_t c = text[at].code;
  if (c == kCapitalSigma) {
    append_utf8(out, is_final_sigma(text, at) ? kFinalSigma : kSmallSigma);
  } else if (c == kCapitalIWithDot) {
    append_utf8(out, U'i');
    append_utf8(out, kDotAbove);
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

}  // namespace

bool python_is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

std::string_view python_lstrip(std::string_view text) {
  while (!text.empty()) {
    const Character c = decode_at(text, 0);
    if (!c.valid || !python_is_space(c.code)) break;
    text.remove_prefix(c.bytes);
  }
  return text;
}

std::string_view python_rstrip(std::string_view text) {
  while (!text.empty()) {
    std::size_t begin = text.size() - 1;
    while (begin > 0 && text.size() - begin < 4 &&
           (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) {
      --begin;
    }
    const Character c = decode_at(text, begin);
    if (!c.valid || begin + c.bytes != text.size() || !python_is_space(c.code)) break;
    text.remove_suffix(c.bytes);
  }
  return text;
}

std::string_view python_strip(std::string_view text) {
  return python_rstrip(python_lstrip(text));
}

std::int64_t python_len(std::string_view text) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < text.size(); i += decode_at(text, i).bytes) ++count;
  return count;
}

std::string python_capitalize(std::string_view text) {
  const std::vector<Character> characters = decode_all(text);
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < characters.size(); ++i) {
    const Character& c = characters[i];
    if (!c.valid) {
      out += text[c.begin];
    } else if (i == 0) {
      append_title(out, c.code);
    } else {
      append_lower(out, characters, i);
    }
  }
  return out;
}

std::string python_replace(std::string_view text, std::string_view from, std::string_view to) {
  QX_CHECK(!from.empty());
  std::string out;
  std::size_t begin = 0;
  for (std::size_t hit = text.find(from); hit != std::string_view::npos;
       hit = text.find(from, begin)) {
    out += text.substr(begin, hit - begin);
    out += to;
    begin = hit + from.size();
  }
  return out += text.substr(begin);
}

}  // namespace qx
