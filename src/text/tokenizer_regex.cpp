// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cctype>
#include <chrono>
#include <new>

#include "base/error.h"

namespace qx {
namespace {

constexpr std::size_t kMaxPatternBytes = 20'000;
constexpr std::uint32_t kMaxParens = 100;

// Most matches backtrack a few times. One that needs more than this is tried again under a callout that
// counts the characters it passes, and all such together may pass so many.
constexpr std::uint32_t kFreeSteps = 1000;
constexpr std::uint64_t kAllowance = 20'000'000;
constexpr std::uint64_t kAllowancePerByte = 200;

// Possessive loops and lookahead pass characters without backtracking, so no step limit sees them.
constexpr double kTimeLimit = 10.0;
constexpr double kTimeLimitPerByte = 20e-6;
constexpr int kMatchesPerTimeCheck = 16;

// \w of Oniguruma as the inside of a character class. Outside of one it also takes six numbers of Latin-1.
constexpr std::string_view kWord =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}"
    "\\x{1f170}-\\x{1f189}";
constexpr std::string_view kWordOutside = "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";

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
    std::string_view name = pattern_.substr(pos_ + 1, close - pos_ - 1);
    out_ += '\\';
    out_ += kind;
    out_ += '{';
    if (name.starts_with('^')) {
      out_ += '^';
      name.remove_prefix(1);
    }
    // A longer name than a general category's is a script's: the property Script, not Script_Extensions.
    if (name.size() > 2) out_ += "sc:";
    out_ += name;
    out_ += '}';
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
      out_ += kWordOutside;
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

struct CodeFree {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
using Code = std::unique_ptr<pcre2_code, CodeFree>;

struct Regex::Impl {
  Code fast, counted;
  bool jit = false;
  std::string origin, where;
  Code compile(const std::string& pattern, std::uint32_t options) const;
};

Code Regex::Impl::compile(const std::string& pattern, std::uint32_t options) const {
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kMaxParens);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          options | PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset,
                          context.get()));
  if (code == nullptr) {
    fail(origin, "{}: got an invalid regular expression '{}': {} at byte {}", where, pattern,
         pcre2_message(error), offset);
  }
  return code;
}

Regex::Regex(std::string_view pattern, std::string_view origin, std::string_view where)
    : impl_(std::make_unique<Impl>()) {
  impl_->origin = origin;
  impl_->where = where;
  const std::string translated = translate_pattern(pattern, origin, where);
  impl_->fast = impl_->compile(translated, 0);
  impl_->counted = impl_->compile(translated, PCRE2_AUTO_CALLOUT);
  // Where the system forbids generated code the interpreter gives the same answers.
  impl_->jit = pcre2_jit_compile(impl_->fast.get(), PCRE2_JIT_COMPLETE) == 0;
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

struct RegexRun::Impl {
  using Clock = std::chrono::steady_clock;
  const Regex::Impl* regex = nullptr;
  pcre2_match_data* data = nullptr;
  pcre2_match_context *fast = nullptr, *counted = nullptr;
  std::uint64_t allowance = 0;
  PCRE2_SIZE last_position = 0;
  Clock::time_point deadline;
  int until_time_check = kMatchesPerTimeCheck;

  ~Impl() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(fast);
    pcre2_match_context_free(counted);
  }

  // Before each item of the pattern: charges the distance to where the last one was.
  static int count(pcre2_callout_block* block, void* self) {
    Impl& run = *static_cast<Impl*>(self);
    const PCRE2_SIZE here = block->current_position;
    const PCRE2_SIZE passed =
        here > run.last_position ? here - run.last_position : run.last_position - here;
    run.last_position = here;
    if (passed >= run.allowance) return PCRE2_ERROR_MATCHLIMIT;
    run.allowance -= passed + 1;
    return 0;
  }

  int match_counted(std::string_view subject, std::size_t start) {
    last_position = start;
    return pcre2_match(regex->counted.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()),
                       subject.size(), start, PCRE2_NO_UTF_CHECK, data, counted);
  }

  void check_time(std::size_t at) {
    if (--until_time_check > 0) return;
    until_time_check = kMatchesPerTimeCheck;
    if (Clock::now() > deadline) {
      fail(regex->origin, "{}: the regular expression takes too long on the text, at byte {}",
           regex->where, at);
    }
  }
};

RegexRun::RegexRun(const Regex& regex, std::size_t text_bytes, double time_limit_s)
    : impl_(std::make_unique<Impl>()) {
  Impl& run = *impl_;
  run.regex = regex.impl_.get();
  run.data = pcre2_match_data_create_from_pattern(run.regex->fast.get(), nullptr);
  run.fast = pcre2_match_context_create(nullptr);
  run.counted = pcre2_match_context_create(nullptr);
  if (!run.data || !run.fast || !run.counted) throw std::bad_alloc();
  pcre2_set_match_limit(run.fast, kFreeSteps);
  pcre2_set_match_limit(run.counted, UINT32_MAX);
  pcre2_set_callout(run.counted, Impl::count, impl_.get());
  for (pcre2_match_context* context : {run.fast, run.counted}) {
    pcre2_set_heap_limit(context, 256 << 10);  // KiB
    pcre2_set_depth_limit(context, UINT32_MAX);
  }
  run.allowance = kAllowance + kAllowancePerByte * text_bytes;
  const double seconds = time_limit_s > 0
                             ? time_limit_s
                             : kTimeLimit + kTimeLimitPerByte * static_cast<double>(text_bytes);
  run.deadline = Impl::Clock::now() + std::chrono::duration_cast<Impl::Clock::duration>(
                                          std::chrono::duration<double>(seconds));
}

RegexRun::~RegexRun() = default;
RegexRun::RegexRun(RegexRun&&) noexcept = default;

bool RegexRun::find(std::string_view subject, std::size_t start, Match& match) {
  Impl& run = *impl_;
  run.check_time(start);
  const auto text = reinterpret_cast<PCRE2_SPTR>(subject.data());
  pcre2_code* code = run.regex->fast.get();
  int rc =
      run.regex->jit
          ? pcre2_jit_match(code, text, subject.size(), start, 0, run.data, run.fast)
          : pcre2_match(code, text, subject.size(), start, PCRE2_NO_UTF_CHECK, run.data, run.fast);
  if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_JIT_STACKLIMIT) {
    rc = run.match_counted(subject, start);
  }
  if (rc == PCRE2_ERROR_NOMATCH) return false;
  if (rc < 0) {
    fail(run.regex->origin, "{}: the regular expression failed on the text at byte {}: {}",
         run.regex->where, start, pcre2_message(rc));
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(run.data);
  match = {bounds[0], bounds[1]};
  return true;
}

}  // namespace qx
