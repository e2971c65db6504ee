// Pre-tokenizers of tokenizer.json: how a text falls into the pieces that byte-pair merges stay
// inside.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/json.h"
#include "text/tokenizer_regex.h"

namespace qx {

struct TextRange {
  std::size_t begin, end;  // bytes
};

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// A piece of the text that a pattern matched or that lies between two matches.
struct SplitPart {
  TextRange range;
  bool is_match;
};
// Appends the ranges that a behavior makes of parts which cover a text in order; empty ones are
// left out.
void apply_behavior(const std::vector<SplitPart>& parts, SplitBehavior behavior,
                    std::vector<TextRange>& out);

// Metaspace of tokenizer.json: spaces become a mark, which may also be put in front.
struct MetaspaceRule {
  enum class Prefix { kAlways, kFirst, kNever } prefix;  // kFirst: only where the whole text begins
  std::string replacement;                               // one character
  bool split;                                            // before each mark
};
// Fails: Error with the place.
MetaspaceRule parse_metaspace(const Json& config, const std::string& place);

// A Sequence of Split, Digits, Metaspace and ByteLevel, of which ByteLevel is the last. Threads:
// const is shared.
class PreTokenizer {
 public:
  // config: null leaves a text whole. Fails: Error "[origin] pre_tokenizer..: got .." naming what
  // is not supported.
  PreTokenizer(const Json& config, std::string_view origin);
  bool byte_level() const { return byte_level_; }

 private:
  struct Step {
    enum class Kind { kRegex, kLiteral, kDigits, kPrefixSpace, kMetaspace } kind;
    SplitBehavior behavior;
    bool invert;
    std::string literal;
    std::size_t regex;  // index into regexes_
    MetaspaceRule metaspace = {};
  };

 public:
  // The state of splitting the segments of one text.
  class Run {
   public:
    Run(const PreTokenizer& steps, std::size_t text_bytes);
    // Splits a segment, valid UTF-8; at_start: the whole text begins with it. The pieces refer to
    // text(), which stays until the next call.
    const std::vector<TextRange>& split(std::string_view segment, bool at_start);
    std::string_view text() const { return text_; }

   private:
    void set_text(std::string_view text);
    void apply(std::size_t step_index);
    void add_prefix_spaces();
    void mark_spaces(const Step& step);
    const PreTokenizer& steps_;
    std::vector<RegexRun>
        regexes_;  // one per Split by a regular expression and ByteLevel, in order
    std::string_view text_, subject_;  // what pieces are cut from; what regular expressions see
    std::string owned_, proxy_;
    std::vector<TextRange> ranges_, next_;
    std::vector<SplitPart> parts_;
    bool at_start_ = false;
  };

 private:
  void parse(const Json& config, const std::string& where, int depth);
  void parse_split(const Json& config, const std::string& where);
  void parse_byte_level(const Json& config, const std::string& where);

  std::string_view origin_;  // during construction only
  std::vector<Step> steps_;
  std::vector<Regex> regexes_;
  bool byte_level_ = false;
};

}  // namespace qx
