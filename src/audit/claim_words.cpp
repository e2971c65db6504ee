// SPDX-License-Identifier: Apache-2.0
#include "audit/claim_words.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string_view>

namespace qx {
namespace {

using Words = std::span<const std::string_view>;

// clang-format off
constexpr std::string_view kBetter[] = {
    "better", "superior", "outperform", "outperforms", "outperformed", "outperforming", "excels", "excel", "beats",
    "beat", "beating", "stronger", "advantage", "advantages", "edge", "gain", "gains", "improvement", "improvements",
    "improves", "improved", "wins", "win", "winner", "dominates", "surpasses", "exceeds", "best", "strongest",
    "superiority", "boost", "boosts"};
constexpr std::string_view kWorse[] = {
    "worse", "inferior", "underperforms", "underperform", "loses", "lose", "loss", "losses", "drop", "drops",
    "dropped", "struggles", "struggle", "degrades", "degraded", "degradation", "decline", "declines", "weaker",
    "lags", "lag", "trails", "suffers", "regression", "regresses", "worst", "weakest", "hurts", "damage", "damages"};
constexpr std::string_view kHigher[] = {"higher", "highest", "above", "greater", "leads", "lead", "ahead", "top", "tops"};
constexpr std::string_view kLower[] = {"lower", "lowest", "below", "behind", "fewer"};
constexpr std::string_view kSame[] = {"equal", "equally", "identical", "identically", "same", "tie", "ties", "tied",
                                      "equivalent", "unchanged", "lossless", "equals"};
constexpr std::string_view kSimilar[] = {"similar", "similarly", "comparable", "comparably", "indistinguishable", "parity",
                                         "noise", "insignificant"};
constexpr std::string_view kSignificant[] = {"significant", "significantly"};
constexpr std::string_view kNegations[] = {"not", "no", "never", "neither", "nor", "isnt", "arent", "doesnt", "dont",
                                           "cannot", "without", "hardly", "nothing", "wasnt", "didnt"};
constexpr std::string_view kHedges[] = {"may", "might", "could", "perhaps", "possibly", "probably", "likely", "seems",
                                        "appears", "seem", "appear"};
// What follows "higher" or "better" when it is not about a score.
constexpr std::string_view kOtherNouns[] = {
    "precision", "bit", "bits", "bitwidth", "memory", "speed", "perplexity", "volatility", "latency", "throughput",
    "cost", "size", "order", "resolution", "bandwidth", "understanding", "compression", "group", "width", "fidelity",
    "suited", "footprint", "temperature", "quantization"};
constexpr std::string_view kOtherThings[] = {
    "perplexity", "ppl", "speed", "faster", "slower", "tokens", "memory", "gb", "gib", "mb", "latency", "throughput",
    "smaller", "larger", "size", "ram", "disk", "vram", "tps", "kl", "bpw"};
// Work that the table is not about.
constexpr std::string_view kEarlier[] = {"earlier", "previous", "previously", "prior", "past"};
constexpr std::string_view kCauses[] = {"because", "shows", "indicates", "suggests", "due", "thanks", "causes", "since"};
constexpr std::string_view kNumbers[] = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
                                         "ten", "eleven", "twelve"};
// clang-format on

bool among(std::string_view word, Words words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

WordClass class_of(std::string_view word) {
  if (among(word, kBetter)) return WordClass::kBetter;
  if (among(word, kWorse)) return WordClass::kWorse;
  if (among(word, kHigher)) return WordClass::kHigher;
  if (among(word, kLower)) return WordClass::kLower;
  if (among(word, kSame)) return WordClass::kSame;
  if (among(word, kSimilar)) return WordClass::kSimilar;
  if (among(word, kSignificant)) return WordClass::kSignificant;
  return WordClass::kNone;
}

bool is_text(const Word& word) {
  return word.kind == Word::Kind::kText;
}

// "within (the) noise"
bool says_within(const Clause& clause, std::size_t i) {
  for (std::size_t back = 1; back <= 3 && back <= i; ++back) {
    const std::string_view word = text_at(clause, i - back);
    if (word == "within" || word == "in" || word == "from") return true;
  }
  return false;
}

// "about the same", "on par", "no difference": classes that take more than one word.
WordClass class_at(const Clause& clause, std::size_t i) {
  const std::string_view word = text_at(clause, i), next = text_at(clause, i + 1);
  if (word == "on" && next == "par") return WordClass::kSimilar;
  if (word == "no" && (next == "difference" || next == "preference")) return WordClass::kSame;
  if (word == "same" && i > 0 &&
      (text_at(clause, i - 1) == "roughly" || text_at(clause, i - 2) == "about")) {
    return WordClass::kSimilar;
  }
  const WordClass found = class_of(word);
  if (word == "noise" && !says_within(clause, i)) return WordClass::kNone;
  if (found == WordClass::kSame &&
      (next == "model" || next == "bytes" || next == "size" || next == "base")) {
    return WordClass::kNone;
  }
  const bool other = among(next, kOtherNouns) || among(text_at(clause, i + 2), kOtherNouns);
  if (found != WordClass::kNone && other) return WordClass::kNone;
  return found;
}

bool is_negated(const Clause& clause, std::size_t at) {
  for (std::size_t back = 1; back <= 3 && back <= at; ++back) {
    if (among(text_at(clause, at - back), kNegations)) return true;
  }
  return false;
}

}  // namespace

std::string_view text_at(const Clause& clause, std::size_t i) {
  return i < clause.words.size() && is_text(clause.words[i])
             ? std::string_view(clause.words[i].text)
             : std::string_view();
}

std::optional<ClaimWord> find_claim_word(const Clause& clause) {
  std::optional<ClaimWord> found;
  for (std::size_t i = 0; i < clause.words.size(); ++i) {
    const WordClass kind = class_at(clause, i);
    if (kind == WordClass::kNone) continue;
    ClaimWord word{kind, i, is_negated(clause, i)};
    if (text_at(clause, i) == "no") word.negated = false;  // "no difference" is the claim itself
    // "significantly better", "not significant": the stronger word decides.
    if (!found) {
      found = word;
    } else if (found->kind == WordClass::kSignificant && !found->negated) {
      word.negated = word.negated || found->negated;
      return word;
    } else if (kind == WordClass::kSimilar || (kind == WordClass::kSignificant && word.negated)) {
      found = word;  // "the gain is within noise"
    }
  }
  return found;
}

bool is_hedged(const Clause& clause) {
  return std::any_of(clause.words.begin(), clause.words.end(),
                     [](const Word& w) { return is_text(w) && among(w.text, kHedges); });
}

std::optional<int> small_number(const Word& word) {
  if (word.kind == Word::Kind::kNumber) {
    const bool whole = word.decimals == 0 && !word.percent && !word.has_sign;
    if (!whole || word.number > 100) return std::nullopt;
    return static_cast<int>(word.number);
  }
  if (!is_text(word)) return std::nullopt;
  const auto* found = std::find(std::begin(kNumbers), std::end(kNumbers), word.text);
  if (found == std::end(kNumbers)) return std::nullopt;
  return static_cast<int>(found - std::begin(kNumbers));
}

bool has_claim_like_word(const Clause& clause) {
  return std::any_of(clause.words.begin(), clause.words.end(), [](const Word& w) {
    return is_text(w) && w.text != "noise" && class_of(w.text) != WordClass::kNone;
  });
}

bool gives_a_cause(const Clause& clause) {
  return std::any_of(clause.words.begin(), clause.words.end(),
                     [](const Word& w) { return is_text(w) && among(w.text, kCauses); });
}

bool is_about_earlier_work(const Clause& clause) {
  return std::any_of(clause.words.begin(), clause.words.end(),
                     [](const Word& w) { return is_text(w) && among(w.text, kEarlier); });
}

bool is_about_other_things(const Clause& clause) {
  return std::any_of(clause.words.begin(), clause.words.end(),
                     [](const Word& w) { return is_text(w) && among(w.text, kOtherThings); });
}

}  // namespace qx
