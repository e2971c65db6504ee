// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_split.h"

#include <algorithm>

#include "base/error.h"
#include "text/tokenizer_normalizer.h"
#include "text/unicode.h"

namespace qx {
namespace {

constexpr std::size_t kMaxSteps = 64;
constexpr int kMaxSequenceDepth = 8;

// What ByteLevel with use_regex splits by: the pattern that GPT-2 defined.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

SplitBehavior parse_behavior(const std::string& name, std::string_view origin,
                             const std::string& where) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  fail(origin,
       "{}.behavior: got '{}', expected Removed, Isolated, MergedWithPrevious, MergedWithNext or "
       "Contiguous",
       where, name);
}

void push_part(std::vector<SplitPart>& parts, std::size_t begin, std::size_t end, bool is_match) {
  parts.push_back({{begin, end}, is_match});
}

void find_literal(std::string_view text, TextRange range, const std::string& literal,
                  std::vector<SplitPart>& parts) {
  const std::string_view subject = text.substr(0, range.end);
  std::size_t done = range.begin;
  for (std::size_t at = subject.find(literal, done); at != std::string_view::npos;
       at = subject.find(literal, done)) {
    if (at > done) push_part(parts, done, at, false);
    push_part(parts, at, at + literal.size(), true);
    done = at + literal.size();
  }
  if (done < range.end) push_part(parts, done, range.end, false);
}

void find_digits(std::string_view text, TextRange range, std::vector<SplitPart>& parts) {
  std::size_t done = range.begin;
  for (std::size_t pos = range.begin; pos < range.end;) {
    const Utf8Step step = read_utf8(text, pos);
    const std::size_t end = pos + static_cast<std::size_t>(step.length_bytes);
    if (is_number(step.code_point)) {
      if (pos > done) push_part(parts, done, pos, false);
      push_part(parts, pos, end, true);
      done = end;
    }
    pos = end;
  }
  if (done < range.end) push_part(parts, done, range.end, false);
}

// Matches as an iterator of Oniguruma's bindings gives them: an empty match right after a match is passed
// over by one character. Lookaround does not see beyond the range.
void find_regex(std::string_view text, TextRange range, RegexRun& run,
                std::vector<SplitPart>& parts) {
  const std::string_view subject = text.substr(range.begin, range.end - range.begin);
  std::size_t from = 0, done = 0, last_end = std::string_view::npos;
  RegexRun::Match m;
  while (from <= subject.size() && run.find(subject, from, m)) {
    if (m.end == m.begin && m.end == last_end) {
      from += from < subject.size()
                  ? static_cast<std::size_t>(read_utf8(subject, from).length_bytes)
                  : 1;
      continue;
    }
    if (m.begin > done) push_part(parts, range.begin + done, range.begin + m.begin, false);
    push_part(parts, range.begin + m.begin, range.begin + m.end, true);
    from = done = last_end = m.end;
  }
  if (done < subject.size()) push_part(parts, range.begin + done, range.end, false);
}

}  // namespace

void apply_behavior(const std::vector<SplitPart>& parts, SplitBehavior behavior,
                    std::vector<TextRange>& out) {
  const auto emit = [&](std::size_t begin, std::size_t end) {
    if (end > begin) out.push_back({begin, end});
  };
  // A part joins the piece before it when `joins` says so.
  const auto merge = [&](auto joins) {
    for (std::size_t i = 0; i < parts.size();) {
      std::size_t last = i;
      while (last + 1 < parts.size() && joins(parts[last], parts[last + 1])) ++last;
      emit(parts[i].range.begin, parts[last].range.end);
      i = last + 1;
    }
  };
  switch (behavior) {
    case SplitBehavior::kRemoved:
      for (const SplitPart& p : parts) {
        if (!p.is_match) emit(p.range.begin, p.range.end);
      }
      break;
    case SplitBehavior::kIsolated:
      for (const SplitPart& p : parts) emit(p.range.begin, p.range.end);
      break;
    case SplitBehavior::kContiguous:
      merge([](const SplitPart& a, const SplitPart& b) { return a.is_match == b.is_match; });
      break;
    case SplitBehavior::kMergedWithPrevious:
      merge([](const SplitPart& a, const SplitPart& b) { return b.is_match && !a.is_match; });
      break;
    case SplitBehavior::kMergedWithNext:
      merge([](const SplitPart& a, const SplitPart& b) { return a.is_match && !b.is_match; });
      break;
  }
}

MetaspaceRule parse_metaspace(const Json& config, const std::string& place) {
  MetaspaceRule rule{MetaspaceRule::Prefix::kAlways, json_string(config, "replacement", place),
                     json_bool_or(config, "split", true, place)};
  if (rule.replacement.empty() ||
      static_cast<std::size_t>(read_utf8(rule.replacement, 0).length_bytes) !=
          rule.replacement.size()) {
    fail(place, "replacement: got '{}', expected one character", rule.replacement);
  }
  const std::string scheme = json_string_or(config, "prepend_scheme", "always", place);
  if (scheme == "first") {
    rule.prefix = MetaspaceRule::Prefix::kFirst;
  } else if (scheme == "never") {
    rule.prefix = MetaspaceRule::Prefix::kNever;
  } else if (scheme != "always") {
    fail(place, "prepend_scheme: got '{}', expected always, first or never", scheme);
  }
  const bool prefix = json_bool_or(config, "add_prefix_space", true, place);
  if (!prefix && rule.prefix != MetaspaceRule::Prefix::kNever) {
    fail(place, "add_prefix_space: got false, which the prepend_scheme contradicts");
  }
  return rule;
}

PreTokenizer::PreTokenizer(const Json& config, std::string_view origin) : origin_(origin) {
  if (!config.is_null()) parse(config, "pre_tokenizer", 0);
  origin_ = {};
}

void PreTokenizer::parse(const Json& config, const std::string& where, int depth) {
  if (!config.is_object()) {
    fail(origin_, "{}: got {}, expected an object", where, config.type_name());
  }
  const std::string place = fmt::format("{}: {}", origin_, where);
  const std::string type = json_string(config, "type", place);
  if (type == "Sequence") {
    const auto list = config.find("pretokenizers");
    if (list == config.end() || !list->is_array()) {
      fail(origin_, "{}.pretokenizers: expected an array", where);
    }
    if (depth >= kMaxSequenceDepth)
      fail(origin_, "{}: got a Sequence too deep, expected {}", where, kMaxSequenceDepth);
    for (std::size_t i = 0; i < list->size(); ++i) {
      parse((*list)[i], fmt::format("{}.pretokenizers[{}]", where, i), depth + 1);
    }
    return;
  }
  if (byte_level_) {
    fail(origin_, "{}: got '{}' after ByteLevel, which is not supported", where, type);
  }
  if (type == "Split") {
    parse_split(config, where);
  } else if (type == "Digits") {
    const bool individual = json_bool_or(config, "individual_digits", false, place);
    steps_.push_back({Step::Kind::kDigits,
                      individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous,
                      false,
                      {},
                      0});
  } else if (type == "ByteLevel") {
    parse_byte_level(config, place);
  } else if (type == "Metaspace") {
    Step step{Step::Kind::kMetaspace, SplitBehavior::kMergedWithNext, false, {}, 0};
    step.metaspace = parse_metaspace(config, place);
    steps_.push_back(std::move(step));
  } else {
    fail(origin_,
         "{}: got '{}', which is not supported; expected Sequence, Split, Digits, Metaspace or "
         "ByteLevel",
         where, type);
  }
  if (steps_.size() > kMaxSteps) fail(origin_, "pre_tokenizer: got over {} steps", kMaxSteps);
}

void PreTokenizer::parse_split(const Json& config, const std::string& where) {
  const std::string place = fmt::format("{}: {}", origin_, where);
  const SplitBehavior behavior =
      parse_behavior(json_string(config, "behavior", place), origin_, where);
  const bool invert = json_bool_or(config, "invert", false, place);
  const auto pattern = config.find("pattern");
  if (pattern == config.end() || !pattern->is_object() || pattern->size() != 1) {
    fail(origin_, "{}.pattern: expected {{\"Regex\": ..}} or {{\"String\": ..}}", where);
  }
  if (pattern->contains("Regex")) {
    regexes_.emplace_back(json_string(*pattern, "Regex", place), origin_, where + ".pattern");
    steps_.push_back({Step::Kind::kRegex, behavior, invert, {}, regexes_.size() - 1});
    return;
  }
  const std::string literal = json_string(*pattern, "String", place);
  if (literal.empty()) fail(origin_, "{}.pattern: got an empty string", where);
  steps_.push_back({Step::Kind::kLiteral, behavior, invert, literal, 0});
}

void PreTokenizer::parse_byte_level(const Json& config, const std::string& place) {
  byte_level_ = true;
  if (json_bool_or(config, "add_prefix_space", true, place)) {
    steps_.push_back({Step::Kind::kPrefixSpace, SplitBehavior::kIsolated, false, {}, 0});
  }
  if (json_bool_or(config, "use_regex", true, place)) {
    regexes_.emplace_back(kGpt2Pattern, origin_, "pre_tokenizer ByteLevel");
    steps_.push_back(
        {Step::Kind::kRegex, SplitBehavior::kIsolated, false, {}, regexes_.size() - 1});
  }
}

PreTokenizer::Run::Run(const PreTokenizer& steps, std::size_t text_bytes) : steps_(steps) {
  regexes_.reserve(steps.regexes_.size());
  for (const Regex& r : steps.regexes_) regexes_.emplace_back(r, text_bytes);
}

void PreTokenizer::Run::set_text(std::string_view text) {
  text_ = text;
  subject_ = !regexes_.empty() && make_class_proxy(text, proxy_) ? std::string_view(proxy_) : text;
}

const std::vector<TextRange>& PreTokenizer::Run::split(std::string_view segment, bool at_start) {
  at_start_ = at_start;
  set_text(segment);
  ranges_.clear();
  if (!segment.empty()) ranges_.push_back({0, segment.size()});
  for (std::size_t i = 0; i < steps_.steps_.size(); ++i) apply(i);
  return ranges_;
}

void PreTokenizer::Run::apply(std::size_t step_index) {
  const Step& step = steps_.steps_[step_index];
  if (step.kind == Step::Kind::kPrefixSpace) return add_prefix_spaces();
  if (step.kind == Step::Kind::kMetaspace) return mark_spaces(step);
  next_.clear();
  for (const TextRange& range : ranges_) {
    parts_.clear();
    switch (step.kind) {
      case Step::Kind::kRegex:
        find_regex(subject_, range, regexes_[step.regex], parts_);
        break;
      case Step::Kind::kLiteral:
        find_literal(text_, range, step.literal, parts_);
        break;
      default:
        find_digits(text_, range, parts_);
    }
    if (step.invert) {
      for (SplitPart& p : parts_) p.is_match = !p.is_match;
    }
    apply_behavior(parts_, step.behavior, next_);
  }
  std::swap(ranges_, next_);
}

// Every piece so far gets a space of its own in front, unless it has one: the text is built anew.
void PreTokenizer::Run::add_prefix_spaces() {
  std::string text;
  text.reserve(text_.size() + ranges_.size());
  for (TextRange& range : ranges_) {
    const std::size_t begin = text.size();
    if (text_[range.begin] != ' ') text.push_back(' ');
    text.append(text_.substr(range.begin, range.end - range.begin));
    range = {begin, text.size()};
  }
  owned_ = std::move(text);
  set_text(owned_);
}

// Spaces become marks, and pieces get one in front where the rule says so: the text is built anew.
void PreTokenizer::Run::mark_spaces(const Step& step) {
  const std::string& mark = step.metaspace.replacement;
  std::string text;
  next_.clear();
  for (const TextRange& range : ranges_) {
    const std::size_t begin = text.size();
    const std::string piece =
        replace_text(text_.substr(range.begin, range.end - range.begin), " ", mark);
    const bool first = at_start_ && range.begin == 0;
    const bool prefix = step.metaspace.prefix == MetaspaceRule::Prefix::kAlways ||
                        (step.metaspace.prefix == MetaspaceRule::Prefix::kFirst && first);
    if (prefix && !piece.starts_with(mark)) text += mark;
    text += piece;
    next_.push_back({begin, text.size()});
  }
  owned_ = std::move(text);
  set_text(owned_);
  std::swap(ranges_, next_);
  if (!step.metaspace.split) return;
  next_.clear();
  for (const TextRange& range : ranges_) {
    parts_.clear();
    find_literal(text_, range, mark, parts_);
    apply_behavior(parts_, SplitBehavior::kMergedWithNext, next_);
  }
  std::swap(ranges_, next_);
}

}  // namespace qx
