// Python's view of text (jinja_text.h), all but case mapping.
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <locale>
#include <span>
#include <sstream>

namespace qx::jinja {

namespace {

// Length of the well-formed sequence at pos, or minus the length of the maximal ill-formed part.
int sequence_at(std::string_view text, std::size_t pos) {
  const auto byte = [&](int i) -> unsigned {
    return pos + i < text.size() ? static_cast<unsigned char>(text[pos + i]) : 0U;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) {
    return 1;
  }
  const int need = lead >= 0xC2 && lead <= 0xDF   ? 1
                   : lead >= 0xE0 && lead <= 0xEF ? 2
                   : lead >= 0xF0 && lead <= 0xF4 ? 3
                                                  : 0;
  if (need == 0) {
    return -1;
  }
  unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (int i = 1; i <= need; ++i) {
    if (byte(i) < low || byte(i) > high) {
      return -i;
    }
    low = 0x80;
    high = 0xBF;
  }
  return need + 1;
}

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

using PointRange = std::array<char32_t, 2>;

// Unicode properties that the general category does not tell, as ranges in order.
// Numeric_Type=Digit without a decimal value: superscripts, circled digits and the like.
constexpr PointRange kOtherDigits[] = {
    {0xB2, 0xB3},       {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},
    {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
    {0x2474, 0x247C},   {0x2488, 0x2490},   {0x24EA, 0x24EA},   {0x24F5, 0x24FD},
    {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},   {0x278A, 0x2792},
    {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};
// Numbers among the ideographs.
constexpr PointRange kOtherNumbers[] = {
    {0x3405, 0x3405},   {0x3483, 0x3483},   {0x382A, 0x382A},   {0x3B4D, 0x3B4D},
    {0x4E00, 0x4E00},   {0x4E03, 0x4E03},   {0x4E07, 0x4E07},   {0x4E09, 0x4E09},
    {0x4E5D, 0x4E5D},   {0x4E8C, 0x4E8C},   {0x4E94, 0x4E94},   {0x4E96, 0x4E96},
    {0x4EBF, 0x4EC0},   {0x4EDF, 0x4EDF},   {0x4EE8, 0x4EE8},   {0x4F0D, 0x4F0D},
    {0x4F70, 0x4F70},   {0x5104, 0x5104},   {0x5146, 0x5146},   {0x5169, 0x5169},
    {0x516B, 0x516B},   {0x516D, 0x516D},   {0x5341, 0x5341},   {0x5343, 0x5345},
    {0x534C, 0x534C},   {0x53C1, 0x53C4},   {0x56DB, 0x56DB},   {0x58F1, 0x58F1},
    {0x58F9, 0x58F9},   {0x5E7A, 0x5E7A},   {0x5EFE, 0x5EFF},   {0x5F0C, 0x5F0E},
    {0x5F10, 0x5F10},   {0x62FE, 0x62FE},   {0x634C, 0x634C},   {0x67D2, 0x67D2},
    {0x6F06, 0x6F06},   {0x7396, 0x7396},   {0x767E, 0x767E},   {0x8086, 0x8086},
    {0x842C, 0x842C},   {0x8CAE, 0x8CAE},   {0x8CB3, 0x8CB3},   {0x8D30, 0x8D30},
    {0x9621, 0x9621},   {0x9646, 0x9646},   {0x964C, 0x964C},   {0x9678, 0x9678},
    {0x96F6, 0x96F6},   {0xF96B, 0xF96B},   {0xF973, 0xF973},   {0xF978, 0xF978},
    {0xF9B2, 0xF9B2},   {0xF9D1, 0xF9D1},   {0xF9D3, 0xF9D3},   {0xF9FD, 0xF9FD},
    {0x20001, 0x20001}, {0x20064, 0x20064}, {0x200E2, 0x200E2}, {0x20121, 0x20121},
    {0x2092A, 0x2092A}, {0x20983, 0x20983}, {0x2098C, 0x2098C}, {0x2099C, 0x2099C},
    {0x20AEA, 0x20AEA}, {0x20AFD, 0x20AFD}, {0x20B19, 0x20B19}, {0x22390, 0x22390},
    {0x22998, 0x22998}, {0x23B1B, 0x23B1B}, {0x2626D, 0x2626D}, {0x2F890, 0x2F890}};
constexpr PointRange kOtherUpper[] = {
    {0x2160, 0x216F}, {0x24B6, 0x24CF}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};
constexpr PointRange kOtherLower[] = {
    {0xAA, 0xAA},       {0xBA, 0xBA},       {0x2B0, 0x2B8},     {0x2C0, 0x2C1},    {0x2E0, 0x2E4},
    {0x345, 0x345},     {0x37A, 0x37A},     {0x1D2C, 0x1D6A},   {0x1D78, 0x1D78},  {0x1D9B, 0x1DBF},
    {0x2071, 0x2071},   {0x207F, 0x207F},   {0x2090, 0x209C},   {0x2170, 0x217F},  {0x24D0, 0x24E9},
    {0x2C7C, 0x2C7D},   {0xA69C, 0xA69D},   {0xA770, 0xA770},   {0xA7F8, 0xA7F9},  {0xAB5C, 0xAB5F},
    {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA}};

bool among(std::span<const PointRange> ranges, char32_t c) {
  const auto behind =
      std::upper_bound(ranges.begin(), ranges.end(), c,
                       [](char32_t point, const PointRange& range) { return point < range[0]; });
  return behind != ranges.begin() && c <= (*(behind - 1))[1];
}

}  // namespace

bool valid_utf8(std::string_view text) {
  for (std::size_t pos = 0; pos < text.size();) {
    const int length = sequence_at(text, pos);
    if (length < 0) {
      return false;
    }
    pos += length;
  }
  return true;
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t pos = 0; pos < text.size();) {
    const int length = sequence_at(text, pos);
    if (length > 0) {
      out.append(text.substr(pos, length));
      pos += length;
    } else {
      out.append("\xEF\xBF\xBD");
      pos += -length;
    }
  }
  return out;
}

char32_t next_point(std::string_view text, std::size_t& pos) {
  const auto byte = [&] { return static_cast<unsigned char>(text[pos++]); };
  const unsigned lead = byte();
  if (lead < 0x80) {
    return lead;
  }
  int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  char32_t point = lead & (0x3FU >> more);
  for (; more > 0 && pos < text.size(); --more) {
    point = (point << 6) | (byte() & 0x3FU);
  }
  return point;
}

char32_t previous_point(std::string_view text, std::size_t& pos) {
  do {
    --pos;
  } while (pos > 0 && (static_cast<unsigned char>(text[pos]) & 0xC0U) == 0x80);
  std::size_t at = pos;
  return next_point(text, at);
}

void append_point(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::size_t count_points(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) {
    count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80;
  }
  return count;
}

std::size_t byte_offset(std::string_view text, std::size_t points) {
  std::size_t pos = 0;
  for (; pos < text.size(); ++pos) {
    if ((static_cast<unsigned char>(text[pos]) & 0xC0U) != 0x80 && points-- == 0) {
      break;
    }
  }
  return pos;
}

std::u32string to_points(std::string_view text) {
  std::u32string out;
  for (std::size_t pos = 0; pos < text.size();) {
    out.push_back(next_point(text, pos));
  }
  return out;
}

std::string from_points(std::u32string_view points) {
  std::string out;
  for (const char32_t c : points) {
    append_point(out, c);
  }
  return out;
}

std::size_t find_text(std::string_view text, std::string_view needle, std::size_t from) {
  // The library's search may take |text| * |needle| steps: harmless only for short needles.
  constexpr std::size_t kShort = 16;
  if (needle.size() <= kShort) {
    return text.find(needle, from);
  }
  std::vector<std::size_t> border(needle.size(), 0);
  for (std::size_t i = 1, k = 0; i < needle.size(); ++i) {
    while (k > 0 && needle[i] != needle[k]) {
      k = border[k - 1];
    }
    k += needle[i] == needle[k];
    border[i] = k;
  }
  for (std::size_t i = from, k = 0; i < text.size(); ++i) {
    while (k > 0 && text[i] != needle[k]) {
      k = border[k - 1];
    }
    k += text[i] == needle[k];
    if (k == needle.size()) {
      return i + 1 - k;
    }
  }
  return std::string_view::npos;
}

std::size_t rfind_text(std::string_view text, std::string_view needle) {
  const std::string reversed_text(text.rbegin(), text.rend());
  const std::string reversed_needle(needle.rbegin(), needle.rend());
  const std::size_t at = find_text(reversed_text, reversed_needle, 0);
  return at == std::string_view::npos ? at : text.size() - at - needle.size();
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool is_printable(char32_t c) {
  if (c == ' ') {
    return true;
  }
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_alpha(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return true;
    default:
      return false;
  }
}

bool is_decimal(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_ND;
}

bool is_digit(char32_t c) {
  return is_decimal(c) || among(kOtherDigits, c);
}

bool is_numeric(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return true;
    default:
      return among(kOtherNumbers, c);
  }
}

bool is_upper(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LU || among(kOtherUpper, c);
}
bool is_lower(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LL || among(kOtherLower, c);
}
bool is_title(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LT;
}
bool is_cased(char32_t c) {
  return is_upper(c) || is_lower(c) || is_title(c);
}

bool is_name_start(char32_t c) {
  return c == '_' || is_alpha(c) || category(c) == UTF8PROC_CATEGORY_NL;
}

bool is_name_part(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return is_name_start(c);
  }
}

std::string_view strip(std::string_view text, Side side, std::optional<std::string_view> chars) {
  std::u32string set = chars ? to_points(*chars) : std::u32string();
  std::sort(set.begin(), set.end());
  const auto drop = [&](char32_t c) {
    return chars ? std::binary_search(set.begin(), set.end(), c) : is_space(c);
  };
  if (side != Side::kRight) {
    std::size_t pos = 0;
    while (pos < text.size()) {
      std::size_t next = pos;
      if (!drop(next_point(text, next))) {
        break;
      }
      pos = next;
    }
    text.remove_prefix(pos);
  }
  if (side != Side::kLeft) {
    std::size_t pos = text.size();
    while (pos > 0) {
      std::size_t before = pos;
      if (!drop(previous_point(text, before))) {
        break;
      }
      pos = before;
    }
    text = text.substr(0, pos);
  }
  return text;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t start = 0;
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t at = pos;
    const char32_t c = next_point(text, pos);
    const bool ends = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                      c == 0x2028 || c == 0x2029;
    if (!ends) {
      continue;
    }
    if (c == '\r' && pos < text.size() && text[pos] == '\n') {
      ++pos;
    }
    lines.push_back(text.substr(start, (keep_ends ? pos : at) - start));
    start = pos;
  }
  if (start < text.size()) {
    lines.push_back(text.substr(start));
  }
  return lines;
}

std::string quote(std::string_view text) {
  const bool single = text.find('\'') == std::string_view::npos;
  const char mark = single || text.find('"') != std::string_view::npos ? '\'' : '"';
  std::string out(1, mark);
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = next_point(text, pos);
    if (c == static_cast<char32_t>(mark) || c == '\\') {
      out.push_back('\\');
      append_point(out, c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      append_point(out, c);
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<unsigned>(c));
    }
  }
  out.push_back(mark);
  return out;
}

std::string float_repr(double value) {
  if (std::isnan(value)) {
    return "nan";
  }
  if (std::isinf(value)) {
    return value < 0 ? "-inf" : "inf";
  }
  // fmt gives the shortest digits that read back; only their arrangement differs from Python's.
  std::string digits;
  int exponent = 0;  // of the first digit
  bool point = false;
  bool leading = true;
  const std::string shortest = fmt::format("{}", std::fabs(value));
  for (std::size_t i = 0; i < shortest.size(); ++i) {
    const char c = shortest[i];
    if (c == 'e') {
      exponent += std::stoi(shortest.substr(i + 1));
      break;
    }
    if (c == '.') {
      point = true;
      continue;
    }
    if (leading && c == '0') {
      exponent -= point;
      continue;
    }
    if (leading) {
      exponent -= point;
    } else {
      exponent += !point;
    }
    leading = false;
    digits.push_back(c);
  }
  while (digits.size() > 1 && digits.back() == '0') {
    digits.pop_back();
  }
  if (digits.empty()) {
    digits = "0";
    exponent = 0;
  }
  std::string out = std::signbit(value) ? "-" : "";
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (count > 1) {
      out += "." + digits.substr(1);
    }
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) {
    return out + "0." + std::string(-exponent - 1, '0') + digits;
  }
  if (count <= exponent + 1) {
    return out + digits + std::string(exponent + 1 - count, '0') + ".0";
  }
  return out + digits.substr(0, exponent + 1) + "." + digits.substr(exponent + 1);
}

namespace {

// Removes underscores that stand between two digits; nothing when one stands elsewhere.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  const auto is_digit_at = [&](std::size_t i) {
    return i < text.size() && std::isalnum(static_cast<unsigned char>(text[i])) != 0;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out.push_back(text[i]);
    } else if (i == 0 || !is_digit_at(i - 1) || !is_digit_at(i + 1)) {
      return std::nullopt;
    }
  }
  return out;
}

bool is_plain_decimal(std::string_view text) {
  std::size_t i = 0;
  const auto digits = [&] {
    const std::size_t start = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') {
      ++i;
    }
    return i - start;
  };
  std::size_t count = digits();
  if (i < text.size() && text[i] == '.') {
    ++i;
    count += digits();
  }
  if (count == 0) {
    return false;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    i += i < text.size() && (text[i] == '+' || text[i] == '-');
    if (digits() == 0) {
      return false;
    }
  }
  return i == text.size();
}

}  // namespace

std::optional<double> parse_float(std::string_view text) {
  text = strip(text, Side::kBoth, std::nullopt);
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    text.remove_prefix(1);
  }
  const std::string word = lower(text);
  const double sign = negative ? -1.0 : 1.0;
  if (word == "inf" || word == "infinity") {
    return sign * std::numeric_limits<double>::infinity();
  }
  if (word == "nan") {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const std::optional<std::string> plain = without_underscores(word);
  if (!plain || !is_plain_decimal(*plain)) {
    return std::nullopt;
  }
  // A stream with the classic locale: strtod depends on the locale, from_chars is missing on macOS.
  std::istringstream stream(*plain);
  stream.imbue(std::locale::classic());
  double value = 0;
  stream >> value;
  return sign * (stream.fail() && value != 0 ? std::numeric_limits<double>::infinity() : value);
}

std::optional<std::int64_t> parse_int(std::string_view text, int base) {
  text = strip(text, Side::kBoth, std::nullopt);
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  const std::string word = lower(text);
  std::string_view body = word;
  const auto take_prefix = [&](std::string_view prefix, int its_base) {
    if ((base == its_base || base == 0) && body.substr(0, 2) == prefix) {
      body.remove_prefix(2);
      body.remove_prefix(!body.empty() && body[0] == '_' ? 1 : 0);
      base = its_base;
    }
  };
  take_prefix("0x", 16);
  take_prefix("0o", 8);
  take_prefix("0b", 2);
  if (base == 0) {
    if (body.size() > 1 && body[0] == '0' &&
        body.find_first_not_of("0_") != std::string_view::npos) {
      return std::nullopt;
    }
    base = 10;
  }
  const std::optional<std::string> plain = without_underscores(body);
  if (!plain || plain->empty() || base < 2 || base > 36 || (*plain)[0] == '-' ||
      (*plain)[0] == '+') {
    return std::nullopt;
  }
  const std::string signed_text = (negative ? "-" : "") + *plain;
  std::int64_t value = 0;
  const char* end = signed_text.data() + signed_text.size();
  const auto [stop, error] = std::from_chars(signed_text.data(), end, value, base);
  return error == std::errc() && stop == end ? std::optional(value) : std::nullopt;
}

}  // namespace qx::jinja
