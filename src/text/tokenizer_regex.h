// Regular expressions of tokenizer.json: Oniguruma's Ruby syntax on PCRE2, with bounded time. Where the two
// dialects differ, the pattern is rewritten or refused (docs/tokenizer.md).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace qx {

// The PCRE2 spelling of a pattern. Fails: Error "[origin] where: ..." naming the construct.
std::string translate_pattern(std::string_view pattern, std::string_view origin,
                              std::string_view where);

// A compiled pattern. Threads: shared by any number of RegexRun.
class Regex {
 public:
  Regex(std::string_view pattern, std::string_view origin, std::string_view where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

 private:
  friend class RegexRun;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The state of matching one text. Threads: one at a time.
class RegexRun {
 public:
  // text_bytes: the size of the text that will be searched in all; sets what may be spent on it.
  // time_limit_s: a last resort against patterns that are slow without backtracking; 0: a generous one.
  RegexRun(const Regex& regex, std::size_t text_bytes, double time_limit_s = 0);
  ~RegexRun();
  RegexRun(RegexRun&&) noexcept;
  RegexRun& operator=(RegexRun&&) = delete;

  struct Match {
    std::size_t begin, end;
  };
  // The leftmost match that begins at or after `start`. The subject is valid UTF-8 that went through
  // make_class_proxy. Fails: Error when the pattern needs far more work than a sane one would.
  bool find(std::string_view subject, std::size_t start, Match& match);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace qx
