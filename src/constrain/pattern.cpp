// SPDX-License-Identifier: Apache-2.0
#include "constrain/pattern.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "constrain/json_machines.h"
#include "io/json.h"
#include "text/unicode.h"

namespace qx {
namespace {

using Part = Fragments::Part;
using CharacterSet = std::vector<CodePointRange>;  // rising, without overlap

constexpr int kMaxGroupDepth = 50;
constexpr int kMaxRepeat = 1000;
constexpr char32_t kLastCodePoint = 0x10FFFF;

struct PatternNode {
  enum class Kind { kSet, kSequence, kEither, kRepeat } kind = Kind::kSequence;
  CharacterSet set;
  std::vector<PatternNode> children;
  int min = 0, max = 0;  // of kRepeat; max -1: no limit
};

CharacterSet sorted_set(CharacterSet ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const CodePointRange& a, const CodePointRange& b) { return a.first < b.first; });
  CharacterSet out;
  for (const CodePointRange& r : ranges) {
    if (!out.empty() && r.first <= out.back().last + 1) {
      out.back().last = std::max(out.back().last, r.last);
    } else {
      out.push_back(r);
    }
  }
  return out;
}

CharacterSet all_but(const CharacterSet& set, char32_t last) {
  CharacterSet out;
  char32_t from = 0;
  for (const CodePointRange& r : set) {
    if (r.first > last) break;
    if (r.first > from) out.push_back({from, r.first - 1});
    from = r.last + 1;
  }
  if (from <= last) out.push_back({from, last});
  return out;
}

// \d, \w, \s as far as ECMA-262 and Python agree on them: in ASCII.
std::optional<CharacterSet> shorthand(char32_t letter) {
  const CharacterSet digits = {{'0', '9'}};
  const CharacterSet word = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  const CharacterSet space = {{'\t', '\r'}, {' ', ' '}};
  switch (letter) {
    case 'd':
      return digits;
    case 'w':
      return word;
    case 's':
      return space;
    case 'D':
      return all_but(digits, 0x7F);
    case 'W':
      return all_but(word, 0x7F);
    case 'S':
      // Python's \s has the separators U+001C to U+001F too.
      return all_but(sorted_set({{'\t', '\r'}, {0x1C, ' '}}), 0x7F);
    default:
      return std::nullopt;
  }
}

class PatternParser {
 public:
  PatternParser(std::string_view pattern, std::string_view place) : place_(place) {
    for (std::size_t at = 0; at < pattern.size();) {
      const Utf8Step step = read_utf8(pattern, at);
      text_.push_back(step.code_point);
      at += static_cast<std::size_t>(step.length_bytes);
    }
  }

  // Alternatives of the whole pattern, with free text where they have no anchor.
  PatternNode parse() {
    PatternNode out{PatternNode::Kind::kEither, {}, {}, 0, 0};
    for (;;) {
      PatternNode free{PatternNode::Kind::kRepeat, {}, {}, 0, -1};
      free.children.push_back(set_node({{0, kLastCodePoint}}));
      PatternNode alternative{PatternNode::Kind::kSequence, {}, {}, 0, 0};
      if (!take('^')) alternative.children.push_back(free);
      alternative.children.push_back(sequence(0));
      if (!take('$')) alternative.children.push_back(free);
      out.children.push_back(std::move(alternative));
      if (!take('|')) break;
    }
    if (at_ < text_.size()) refuse(text_[at_] == ')' ? "')' without '('" : "an anchor inside");
    return out;
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail(place_, "pattern: got {} at character {}, which is not supported", what, at_);
  }
  bool more() const { return at_ < text_.size(); }
  bool take(char32_t c) {
    if (!more() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  static PatternNode set_node(CharacterSet set) {
    return {PatternNode::Kind::kSet, std::move(set), {}, 0, 0};
  }

  PatternNode sequence(int depth) {
    PatternNode out{PatternNode::Kind::kSequence, {}, {}, 0, 0};
    while (more() && text_[at_] != '|' && text_[at_] != ')' && text_[at_] != '$') {
      PatternNode item = atom(depth);
      if (const auto [min, max] = quantifier(); min != 1 || max != 1) {
        PatternNode repeat{PatternNode::Kind::kRepeat, {}, {}, min, max};
        repeat.children.push_back(std::move(item));
        item = std::move(repeat);
      }
      out.children.push_back(std::move(item));
    }
    return out;
  }

  PatternNode atom(int depth) {
    const char32_t c = text_[at_];
    switch (c) {
      case '(':
        return group(depth);
      case '[':
        return set_node(bracket());
      case '\\':
        return set_node(escape(false));
      case '.':
        ++at_;
        return set_node(all_but({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}, kLastCodePoint));
      case '^':
        refuse("an anchor inside");
      case '*':
      case '+':
      case '?':
        refuse("a quantifier without anything before it");
      case '{':
        refuse("a brace (written \\{ when meant as text)");
      default:
        ++at_;
        return set_node({{c, c}});
    }
  }

  PatternNode group(int depth) {
    if (depth >= kMaxGroupDepth) refuse("groups nested that deep");
    ++at_;
    if (take('?') && !take(':')) refuse("a group other than (..) and (?:..)");
    PatternNode out{PatternNode::Kind::kEither, {}, {}, 0, 0};
    do {
      out.children.push_back(sequence(depth + 1));
    } while (take('|'));
    if (more() && text_[at_] == '$') refuse("an anchor inside");
    if (!take(')')) refuse("'(' without ')'");
    return out;
  }

  std::optional<int> number() {
    const std::size_t begin = at_;
    int value = 0;
    while (more() && text_[at_] >= '0' && text_[at_] <= '9') {
      value = std::min(value * 10 + static_cast<int>(text_[at_] - '0'), kMaxRepeat + 1);
      ++at_;
    }
    return at_ == begin ? std::nullopt : std::optional<int>(value);
  }

  // min and max of what follows an atom; 1 and 1 without one. Lazy ones accept the same texts.
  std::pair<int, int> quantifier() {
    int min = 1, max = 1;
    if (take('*')) {
      min = 0, max = -1;
    } else if (take('+')) {
      max = -1;
    } else if (take('?')) {
      min = 0;
    } else if (take('{')) {
      const std::optional<int> low = number();
      if (!low) refuse("a brace (written \\{ when meant as text)");
      min = max = *low;
      if (take(',')) max = number().value_or(-1);
      if (!take('}')) refuse("a brace (written \\{ when meant as text)");
      if (min > kMaxRepeat || max > kMaxRepeat) refuse("over 1000 repetitions");
      if (max >= 0 && max < min) refuse("a repetition with its limits the wrong way round");
    } else {
      return {1, 1};
    }
    take('?');
    if (more() && (text_[at_] == '*' || text_[at_] == '+' || text_[at_] == '?')) {
      refuse("a quantifier after a quantifier");
    }
    return {min, max};
  }

  char32_t hexadecimal(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const char32_t c = more() ? text_[at_] : 0;
      const bool letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
      if (!letter && (c < '0' || c > '9')) refuse("an escape without its digits");
      value = value * 16 + (letter ? (c | 0x20) - 'a' + 10 : c - '0');
      ++at_;
    }
    if (value >= 0xD800 && value < 0xE000) refuse("half a surrogate pair");
    return value;
  }

  CharacterSet escape(bool in_bracket) {
    ++at_;
    if (!more()) refuse("a backslash at the end");
    const char32_t c = text_[at_];
    if (const auto set = shorthand(c)) {
      ++at_;
      return *set;
    }
    static constexpr std::u32string_view kLetters = U"tnrfv", kValues = U"\t\n\r\f\v";
    char32_t value = c;
    if (const std::size_t i = kLetters.find(c); i != std::u32string_view::npos) {
      value = kValues[i];
      ++at_;
    } else if (c == 'x' || c == 'u') {
      ++at_;
      value = hexadecimal(c == 'x' ? 2 : 4);
    } else if (c < 0x80 && is_word_character(c)) {
      refuse(in_bracket ? "an unknown escape in brackets" : "an unknown escape or a reference");
    } else {
      ++at_;
    }
    return {{value, value}};
  }

  CharacterSet bracket() {
    ++at_;
    const bool negated = take('^');
    bool shorthands = false, negated_shorthands = false;
    CharacterSet set;
    if (more() && text_[at_] == ']') refuse("empty brackets");
    while (!take(']')) {
      if (!more()) refuse("'[' without ']'");
      const CharacterSet low = bracket_item(shorthands, negated_shorthands);
      const bool range = at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']';
      if (!range) {
        set.insert(set.end(), low.begin(), low.end());
        continue;
      }
      ++at_;
      const CharacterSet high = bracket_item(shorthands, negated_shorthands);
      const bool single = low.size() == 1 && high.size() == 1 && low[0].first == low[0].last &&
                          high[0].first == high[0].last;
      if (!single || low[0].first > high[0].first) refuse("a range in brackets that is none");
      set.push_back({low[0].first, high[0].first});
    }
    set = sorted_set(std::move(set));
    if (!negated) return set;
    if (negated_shorthands) refuse("\\D, \\W or \\S in negated brackets");
    if (shorthands)
      set = sorted_set([&] {
        CharacterSet more = set;
        more.push_back({0x1C, 0x1F});  // Python's \s
        return more;
      }());
    return all_but(set, shorthands ? 0x7F : kLastCodePoint);
  }

  CharacterSet bracket_item(bool& shorthands, bool& negated_shorthands) {
    if (text_[at_] != '\\') {
      const char32_t c = text_[at_++];
      return {{c, c}};
    }
    if (at_ + 1 < text_.size()) {
      const char32_t letter = text_[at_ + 1];
      if (shorthand(letter)) (letter >= 'a' ? shorthands : negated_shorthands) = true;
    }
    return escape(true);
  }

  std::string_view place_;
  std::u32string text_;
  std::size_t at_ = 0;
};

Part build(Fragments& f, const PatternNode& node) {
  std::vector<Part> parts;
  switch (node.kind) {
    case PatternNode::Kind::kSet:
      return plain_characters(f, node.set);
    case PatternNode::Kind::kSequence:
    case PatternNode::Kind::kEither:
      for (const PatternNode& child : node.children) parts.push_back(build(f, child));
      return node.kind == PatternNode::Kind::kSequence ? f.sequence(parts) : f.either(parts);
    case PatternNode::Kind::kRepeat:
      break;
  }
  const PatternNode& body = node.children.front();
  if (node.max < 0) {
    for (int i = 0; i < node.min; ++i) parts.push_back(build(f, body));
    parts.push_back(f.star(build(f, body)));
    return f.sequence(parts);
  }
  Part rest = f.nothing();
  for (int i = node.max; i > 0; --i) {
    rest = f.sequence(build(f, body), rest);
    if (i > node.min) rest = f.optional(rest);
  }
  return rest;
}

}  // namespace

ByteMachine strings_matching(std::string_view pattern, std::string_view place) {
  Fragments f(place);
  const PatternNode root = PatternParser(pattern, place).parse();
  const Part parts[] = {f.literal("\""), build(f, root), f.literal("\"")};
  return f.machine(f.sequence(parts));
}

std::string plain_spelling(std::string_view utf8) {
  return Json(utf8).dump();
}

}  // namespace qx
