// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cctype>

#include "base/error.h"

namespace qx {
namespace {

constexpr std::size_t kMaxPatternBytes = 20'000;
constexpr std::uint32_t kMaxParens = 100;

// A match that stays below this many steps costs nothing of the allowance; a dearer one is tried again with
// ten times as many and pays for them, so that the whole text is bounded, not only each match.
constexpr std::uint32_t kFreeSteps = 1000;
constexpr std::uint64_t kStepsPerByte = 200;
constexpr std::uint64_t kStepsPerText = 100'000'000;

// \w of Oniguruma as the inside of a character class.
constexpr std::string_view kWord =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}"
    "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}";

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view origin, std::string_view where)
      : pattern_(pattern), origin_(origin), where_(where) {}

  std::string run() {
    while (!at_end()) {
      const char c = take();
      switch (c) {
        case '\\':
          escape(false);
          break;
        case '[':
          char_class();
          break;
        case '(':
          group();
          break;
        case '{':
          interval();
          break;
        default:
          out_.push_back(c);
      }
    }
    return std::move(out_);
  }

 private:
  bool at_end() const { return pos_ >= pattern_.size(); }
  char take() {
    if (at_end()) fail(origin_, "{}: got a pattern that ends early", where_);
    return pattern_[pos_++];
  }
  bool next_is(std::string_view s) const { return pattern_.substr(pos_).starts_with(s); }
  [[noreturn]] void refuse(std::string_view what) const {
    fail(origin_, "{}: got a regular expression with {} (at byte {}), which is not supported",
         where_, what, pos_);
  }

  void hex_digits(std::string_view digits) {
    if (digits.empty() || digits.size() > 8) refuse("a malformed code point");
    for (const char d : digits) {
      if (!std::isxdigit(static_cast<unsigned char>(d))) refuse("a malformed code point");
    }
    out_ += "\\x{";
    out_ += digits;
    out_ += '}';
  }

  void code_point(char kind) {
    if (kind == 'x' && next_is("{")) {
      const std::size_t close = pattern_.find('}', pos_);
      if (close == std::string_view::npos) refuse("a malformed code point");
      hex_digits(pattern_.substr(pos_ + 1, close - pos_ - 1));
      pos_ = close + 1;
      return;
    }
    const std::size_t n = kind == 'x' ? 2 : 4;
    if (pattern_.size() - pos_ < n) refuse("a malformed code point");
    if (kind == 'x' && pattern_[pos_] > '7') refuse("a byte beyond ASCII");
    hex_digits(pattern_.substr(pos_, n));
    pos_ += n;
  }

  void property(char kind) {
    const std::size_t close = next_is("{") ? pattern_.find('}', pos_) : std::string_view::npos;
    if (close == std::string_view::npos) refuse("\\p without a name in braces");
    out_ += '\\';
    out_ += kind;
    out_ += pattern_.substr(pos_, close + 1 - pos_);
    pos_ = close + 1;
  }

  void escape(bool in_class) {
    const char c = take();
    if (c == 'p' || c == 'P') return property(c);
    if (c == 'x' || c == 'u') return code_point(c);
    if (c == 'v') {  // a vertical tab here, a class of line ends in PCRE2
      out_ += "\\x0b";
    } else if (c == 'w' && in_class) {
      out_ += kWord;
    } else if ((c == 'w' || c == 'W') && !in_class) {
      out_ += c == 'w' ? "[" : "[^";
      out_ += kWord;
      out_ += ']';
    } else if (std::string_view("sSdDnrtfae").find(c) != std::string_view::npos ||
               (!in_class && std::string_view("AzZ").find(c) != std::string_view::npos) ||
               !std::isalnum(static_cast<unsigned char>(c))) {
      out_ += '\\';
      out_ += c;
    } else {
      refuse(fmt::format("\\{}{}", c, in_class ? " in a character class" : ""));
    }
  }

  void char_class() {
    out_ += '[';
    if (next_is("^")) out_ += take();
    if (next_is("]")) refuse("an empty character class");
    for (;;) {
      const char c = take();
      if (c == ']') break;
      if (c == '[') refuse("a character class inside another");
      if (c == '&' && next_is("&")) refuse("an intersection of character classes");
      if (c == '\\') {
        escape(true);
      } else {
        out_ += c;
      }
    }
    out_ += ']';
  }

  void group() {
    const bool first = out_.empty();
    out_ += '(';
    if (next_is("*")) refuse("(*");
    if (!next_is("?")) return;
    for (const std::string_view kind : {"?:", "?=", "?!", "?<=", "?<!", "?>", "?i:", "?-i:"}) {
      if (next_is(kind)) {
        out_ += kind;
        pos_ += kind.size();
        return;
      }
    }
    if (first && next_is("?i)")) {
      out_ += "?i)";
      pos_ += 3;
      return;
    }
    refuse("this kind of group: (" + std::string(pattern_.substr(pos_, 3)));
  }

  void interval() {
    std::size_t p = pos_;
    const auto number = [&] {
      const std::size_t begin = p;
      while (p < pattern_.size() && std::isdigit(static_cast<unsigned char>(pattern_[p]))) ++p;
      return p > begin;
    };
    const bool low = number();
    const bool comma = p < pattern_.size() && pattern_[p] == ',';
    if (comma) ++p;
    const bool high = comma && number();
    if (p >= pattern_.size() || pattern_[p] != '}' || (!low && !high)) {
      out_ += "\\{";  // an ordinary brace in both
      return;
    }
    if (!low) refuse("{,n}");
    out_ += '{';
    out_ += pattern_.substr(pos_, p + 1 - pos_);
    pos_ = p + 1;
    if (next_is("+")) refuse("{n,m}+");
    if (!comma && next_is("?")) refuse("{n}?");
  }

  std::string_view pattern_, origin_, where_;
  std::string out_;
  std::size_t pos_ = 0;
};

std::string pcre2_message(int code) {
  PCRE2_UCHAR text[256];
  if (pcre2_get_error_message(code, text, sizeof text) < 0) return fmt::format("error {}", code);
  return reinterpret_cast<const char*>(text);
}

}  // namespace

std::string translate_pattern(std::string_view pattern, std::string_view origin,
                              std::string_view where) {
  if (pattern.empty() || pattern.size() > kMaxPatternBytes) {
    fail(origin, "{}: got a regular expression of {} bytes, expected 1 to {}", where,
         pattern.size(), kMaxPatternBytes);
  }
  return Translator(pattern, origin, where).run();
}

struct Regex::Impl {
  pcre2_code* code = nullptr;
  bool jit = false;
  std::string origin, where;
  ~Impl() { pcre2_code_free(code); }
};

Regex::Regex(std::string_view pattern, std::string_view origin, std::string_view where)
    : impl_(std::make_unique<Impl>()) {
  impl_->origin = origin;
  impl_->where = where;
  const std::string translated = translate_pattern(pattern, origin, where);
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kMaxParens);
  int error = 0;
  PCRE2_SIZE offset = 0;
  impl_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                              &error, &offset, context.get());
  if (impl_->code == nullptr) {
    fail(origin, "{}: got an invalid regular expression '{}': {} at byte {}", where, translated,
         pcre2_message(error), offset);
  }
  // Where the system forbids generated code the interpreter gives the same answers.
  impl_->jit = pcre2_jit_compile(impl_->code, PCRE2_JIT_COMPLETE) == 0;
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

struct RegexRun::Impl {
  const Regex::Impl* regex = nullptr;
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  std::uint64_t allowance = 0;
  ~Impl() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
};

RegexRun::RegexRun(const Regex& regex, std::size_t text_bytes) : impl_(std::make_unique<Impl>()) {
  impl_->regex = regex.impl_.get();
  impl_->data = pcre2_match_data_create_from_pattern(regex.impl_->code, nullptr);
  impl_->context = pcre2_match_context_create(nullptr);
  if (impl_->data == nullptr || impl_->context == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(impl_->context, kFreeSteps);
  pcre2_set_heap_limit(impl_->context, 256 << 10);  // KiB, of the interpreter
  impl_->allowance = kStepsPerText + kStepsPerByte * text_bytes;
}

RegexRun::~RegexRun() = default;
RegexRun::RegexRun(RegexRun&&) noexcept = default;

bool RegexRun::find(std::string_view subject, std::size_t start, Match& match) {
  const auto text = reinterpret_cast<PCRE2_SPTR>(subject.data());
  std::uint32_t steps = kFreeSteps;
  bool jit = impl_->regex->jit;
  int rc = 0;
  for (;;) {
    rc = jit ? pcre2_jit_match(impl_->regex->code, text, subject.size(), start, 0, impl_->data,
                               impl_->context)
             : pcre2_match(impl_->regex->code, text, subject.size(), start,
                           PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, impl_->data, impl_->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
      jit = false;
    } else if (rc == PCRE2_ERROR_MATCHLIMIT && steps < impl_->allowance) {
      steps = steps > UINT32_MAX / 10 ? UINT32_MAX : steps * 10;
      if (steps > impl_->allowance) steps = static_cast<std::uint32_t>(impl_->allowance);
      impl_->allowance -= steps;
      pcre2_set_match_limit(impl_->context, steps);
    } else {
      break;
    }
  }
  if (steps != kFreeSteps) pcre2_set_match_limit(impl_->context, kFreeSteps);
  if (rc == PCRE2_ERROR_NOMATCH) return false;
  if (rc < 0) {
    fail(impl_->regex->origin, "{}: the regular expression failed on the text at byte {}: {}",
         impl_->regex->where, start, pcre2_message(rc));
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(impl_->data);
  match = {bounds[0], bounds[1]};
  return true;
}

}  // namespace qx
