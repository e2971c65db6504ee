// SPDX-License-Identifier: Apache-2.0
#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <span>
#include <vector>

#include "base/error.h"

namespace qx {
namespace {

enum class Gc : std::uint8_t {
  kLu,
  kLl,
  kLm,
  kLo,
  kHan,
  kMn,
  kMc,
  kNd,
  kNo,
  kPd,
  kPo,
  kSm,
  kSo,
  kCf
};

struct Addition {
  char32_t first, last;
  Gc category;
};
struct CodeRange {
  char32_t first, last;
};

#include "text/unicode_additions.inc"

// Stand-ins of each category that Unicode 13 already knew, with 3 and with 4 bytes.
struct Proxy {
  Gc category;
  char32_t three_bytes, four_bytes;
};
constexpr Proxy kProxies[] = {
    {Gc::kLu, 0x1E00, 0x10400}, {Gc::kLl, 0x1E01, 0x10428},  {Gc::kLm, 0x30FC, 0x16B40},
    {Gc::kLo, 0x0E01, 0x10000}, {Gc::kHan, 0x4E00, 0x20000}, {Gc::kMn, 0x0901, 0x101FD},
    {Gc::kMc, 0x0903, 0x11000}, {Gc::kNd, 0x0966, 0x104A0},  {Gc::kNo, 0x2460, 0x10107},
    {Gc::kPd, 0x2010, 0x10EAD}, {Gc::kPo, 0x0964, 0x10100},  {Gc::kSm, 0x2200, 0x1D6C1},
    {Gc::kSo, 0x2195, 0x1F300}, {Gc::kCf, 0x200B, 0x110BD},
};

constexpr char32_t kMongolianVowelSeparator =
    0x180E;  // white space for PCRE2, Cf for everyone else

template <typename Range>
const Range* find_range(std::span<const Range> ranges, char32_t c) {
  const auto at = std::upper_bound(ranges.begin(), ranges.end(), c,
                                   [](char32_t x, const Range& r) { return x < r.first; });
  if (at == ranges.begin()) return nullptr;
  const Range& range = *std::prev(at);
  return c <= range.last ? &range : nullptr;
}

const Addition* find_addition(char32_t c) {
  return find_range<Addition>(kAdditions, c);
}

bool is_inert(char32_t c) {
  return find_range<CodeRange>(kInertInNormalization, c) != nullptr;
}

bool in_category(char32_t c, std::span<const Gc> additions, std::uint32_t utf8proc_mask) {
  if (const Addition* a = find_addition(c)) {
    return std::find(additions.begin(), additions.end(), a->category) != additions.end();
  }
  const int category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return (utf8proc_mask >> category & 1u) != 0;
}

constexpr std::uint32_t mask(std::initializer_list<int> categories) {
  std::uint32_t m = 0;
  for (const int c : categories) m |= 1u << c;
  return m;
}

bool continues(unsigned char byte, unsigned char low = 0x80, unsigned char high = 0xBF) {
  return byte >= low && byte <= high;
}

// Pages of 256 code points that hold something make_class_proxy replaces; most text touches none.
constexpr auto kProxyPages = [] {
  std::array<bool, 0x1100> pages{};
  for (const Addition& a : kAdditions) {
    for (char32_t p = a.first >> 8; p <= a.last >> 8; ++p) pages[p] = true;
  }
  pages[kMongolianVowelSeparator >> 8] = true;
  return pages;
}();

// 0: the code point needs no proxy.
char32_t proxy_of(char32_t c, int length_bytes) {
  if (!kProxyPages[c >> 8]) return 0;
  Gc category = Gc::kCf;
  if (c != kMongolianVowelSeparator) {
    const Addition* a = find_addition(c);
    if (a == nullptr) return 0;
    category = a->category;
  }
  for (const Proxy& p : kProxies) {
    if (p.category == category) return length_bytes == 3 ? p.three_bytes : p.four_bytes;
  }
  return 0;
}

}  // namespace

Utf8Step read_utf8(std::string_view text, std::size_t pos) {
  QX_CHECK(pos < text.size());
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[pos + i]); };
  const std::size_t left = text.size() - pos;
  const unsigned char b0 = byte(0);
  if (b0 < 0x80) return {b0, 1, true, false};
  const auto bad = [](int length, bool incomplete) {
    return Utf8Step{0xFFFD, length, false, incomplete};
  };
  if (b0 < 0xC2 || b0 > 0xF4) return bad(1, false);
  const int length = b0 < 0xE0 ? 2 : b0 < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF.
  const unsigned char low = b0 == 0xE0 ? 0xA0 : b0 == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = b0 == 0xED ? 0x9F : b0 == 0xF4 ? 0x8F : 0xBF;
  if (left < 2) return bad(1, true);
  if (!continues(byte(1), low, high)) return bad(1, false);
  char32_t c = (b0 & (length == 2 ? 0x1Fu : length == 3 ? 0x0Fu : 0x07u)) << 6 | (byte(1) & 0x3Fu);
  for (int i = 2; i < length; ++i) {
    if (left < static_cast<std::size_t>(i) + 1) return bad(i, true);
    if (!continues(byte(i))) return bad(i, false);
    c = c << 6 | (byte(i) & 0x3Fu);
  }
  return {c, length, true, false};
}

std::size_t previous_utf8(std::string_view text, std::size_t pos) {
  QX_CHECK(pos > 0 && pos <= text.size());
  do {
    --pos;
  } while (pos > 0 && continues(static_cast<unsigned char>(text[pos])));
  return pos;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

bool is_utf8(std::string_view text) {
  for (std::size_t pos = 0; pos < text.size();) {
    if (static_cast<unsigned char>(text[pos]) < 0x80) {
      ++pos;
      continue;
    }
    const Utf8Step step = read_utf8(text, pos);
    if (!step.valid) return false;
    pos += static_cast<std::size_t>(step.length_bytes);
  }
  return true;
}

std::string to_valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (std::size_t pos = 0; pos < bytes.size();) {
    const Utf8Step step = read_utf8(bytes, pos);
    if (step.valid) {
      out.append(bytes.substr(pos, static_cast<std::size_t>(step.length_bytes)));
    } else {
      append_utf8(out, step.code_point);
    }
    pos += static_cast<std::size_t>(step.length_bytes);
  }
  return out;
}

void drain_utf8(std::string& pending, std::string& text) {
  std::size_t pos = 0;
  while (pos < pending.size()) {
    const Utf8Step step = read_utf8(pending, pos);
    if (step.incomplete) break;
    if (step.valid) {
      text.append(pending, pos, static_cast<std::size_t>(step.length_bytes));
    } else {
      append_utf8(text, step.code_point);
    }
    pos += static_cast<std::size_t>(step.length_bytes);
  }
  pending.erase(0, pos);
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_word_character(char32_t c) {
  // Alphabetic beyond letters, marks and Nl: circled and squared letters. Join_Control: ZWNJ, ZWJ.
  if ((c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
      (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189) || c == 0x200C ||
      c == 0x200D) {
    return true;
  }
  static constexpr Gc kAdded[] = {Gc::kLu,  Gc::kLl, Gc::kLm, Gc::kLo,
                                  Gc::kHan, Gc::kMn, Gc::kMc, Gc::kNd};
  return in_category(
      c, kAdded,
      mask({UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LL, UTF8PROC_CATEGORY_LT, UTF8PROC_CATEGORY_LM,
            UTF8PROC_CATEGORY_LO, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_MC, UTF8PROC_CATEGORY_ME,
            UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NL, UTF8PROC_CATEGORY_PC}));
}

bool is_number(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  static constexpr Gc kAdded[] = {Gc::kNd, Gc::kNo};
  return in_category(c, kAdded,
                     mask({UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NL, UTF8PROC_CATEGORY_NO})) ||
         find_range<CodeRange>(kLateNumbers, c) != nullptr;
}

namespace {

void sort_marks(std::span<utf8proc_int32_t> text) {
  const auto combining_class = [](utf8proc_int32_t c) {
    return is_inert(static_cast<char32_t>(c)) ? 0 : int{utf8proc_get_property(c)->combining_class};
  };
  std::vector<std::pair<int, utf8proc_int32_t>> marks;
  const auto write_back = [&](std::size_t end) {
    std::stable_sort(marks.begin(), marks.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (std::size_t i = 0; i < marks.size(); ++i) text[end - marks.size() + i] = marks[i].second;
    marks.clear();
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int ccc = text[i] < 0x300 ? 0 : combining_class(text[i]);
    if (ccc != 0) {
      marks.emplace_back(ccc, text[i]);
    } else if (!marks.empty()) {
      write_back(i);
    }
  }
  if (!marks.empty()) write_back(text.size());
}

// Inert code points neither compose nor let marks across, so that the text between them is on its own.
void compose(std::vector<utf8proc_int32_t>& text) {
  std::vector<utf8proc_int32_t> out;
  out.reserve(text.size());
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && !is_inert(static_cast<char32_t>(text[i]))) continue;
    const utf8proc_ssize_t kept = utf8proc_normalize_utf32(
        text.data() + begin, static_cast<utf8proc_ssize_t>(i - begin),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    QX_CHECK(kept >= 0);
    out.insert(out.end(), text.begin() + static_cast<std::ptrdiff_t>(begin),
               text.begin() + static_cast<std::ptrdiff_t>(begin) + kept);
    if (i < text.size()) out.push_back(text[i]);
    begin = i + 1;
  }
  text = std::move(out);
}

// Below U+0300 nothing combines and, for the canonical forms with composition, nothing changes.
bool is_nfc_at_a_glance(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char b) { return static_cast<unsigned char>(b) < 0xCC; });
}

}  // namespace

std::string normalize_utf8(std::string_view text, NormalForm form) {
  if (form == NormalForm::kNfc && is_nfc_at_a_glance(text)) return std::string(text);
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                      (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  for (std::size_t pos = 0; pos < text.size();) {
    const Utf8Step step = read_utf8(text, pos);
    pos += static_cast<std::size_t>(step.length_bytes);
    const auto c = static_cast<utf8proc_int32_t>(step.code_point);
    if (c < 0x80 || is_inert(step.code_point)) {
      points.push_back(c);
      continue;
    }
    utf8proc_int32_t parts[32];  // the longest decomposition, of U+FDFA, has 18
    int boundary = 0;
    const utf8proc_ssize_t n = utf8proc_decompose_char(c, parts, 32, options, &boundary);
    QX_CHECK(n > 0 && n <= 32);
    points.insert(points.end(), parts, parts + n);
  }
  sort_marks(points);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) compose(points);
  std::string out;
  out.reserve(text.size());
  for (const utf8proc_int32_t c : points) append_utf8(out, static_cast<char32_t>(c));
  return out;
}

bool make_class_proxy(std::string_view text, std::string& out) {
  bool replaced = false;
  std::string replacement;
  for (std::size_t pos = 0; pos < text.size();) {
    if (static_cast<unsigned char>(text[pos]) < 0xE0) {  // additions begin at U+0897, three bytes
      ++pos;
      continue;
    }
    const Utf8Step step = read_utf8(text, pos);
    if (const char32_t proxy = proxy_of(step.code_point, step.length_bytes)) {
      if (!replaced) out.assign(text);
      replaced = true;
      replacement.clear();
      append_utf8(replacement, proxy);
      QX_CHECK(replacement.size() == static_cast<std::size_t>(step.length_bytes));
      out.replace(pos, replacement.size(), replacement);
    }
    pos += static_cast<std::size_t>(step.length_bytes);
  }
  return replaced;
}

}  // namespace qx
