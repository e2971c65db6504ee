// Normalizers of tokenizer.json: what happens to a text before it is split and merged.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "text/unicode.h"

namespace qx {

// Unicode normal forms, Prepend and Replace of a text, in any sequence. Threads: const is shared.
class Normalizer {
 public:
  Normalizer() = default;
  // Fails: Error "[origin: normalizer] got '..'" naming what is not supported.
  Normalizer(const Json& config, std::string_view origin);
  bool empty() const { return steps_.empty(); }
  // text is valid UTF-8. Fails: Error when it grows beyond kMaxNormalizedBytes.
  std::string apply(std::string_view text) const;

 private:
  struct Step {
    enum class Kind { kForm, kReplace, kPrepend } kind;
    NormalForm form = NormalForm::kNfc;
    std::string from, to;  // kPrepend: only `to`
  };
  void parse(const Json& config, const std::string& place, int depth);
  std::vector<Step> steps_;
};

constexpr std::size_t kMaxNormalizedBytes = std::size_t{1} << 32;

// The text of {"String": ".."}, which some components of tokenizer.json take. Fails: Error for
// {"Regex": ..}, naming the component, and for an empty text.
std::string pattern_text(const Json& component, const std::string& place);

// Every occurrence from left to right.
std::string replace_text(std::string_view text, std::string_view from, std::string_view to);

}  // namespace qx
