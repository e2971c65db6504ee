// SPDX-License-Identifier: Apache-2.0
#include "compare/recommend.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace qx {
namespace {

std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " and " : ", ";
    out += words[i];
  }
  return out;
}

std::string points(double difference) {
  return fmt::format("{:+.1f}", difference * 100);
}

std::string interval_text(const Interval& i) {
  return fmt::format("95 % interval {} to {}", points(i.low), points(i.high));
}

// Tasks where the pair has this verdict. Tasks without information are not listed: no claim rests
// on them.
std::vector<std::string> tasks_with(const Comparison& c, const PairSummary& pair, Verdict verdict) {
  std::vector<std::string> out;
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    if (pair.tasks[t].verdict == verdict) {
      out.push_back(fmt::format("{} ({} points, {})", c.tasks[t].task,
                                points(pair.tasks[t].difference),
                                interval_text(pair.tasks[t].interval)));
    }
  }
  return out;
}

bool average_is(const PairSummary& pair, Verdict verdict) {
  return pair.average.has_value() && pair.average->verdict == verdict;
}

// What a pair's verdicts say as a whole.
enum class Standing { kAhead, kBehind, kMixed, kUndecided };

Standing standing(const Comparison& c, const PairSummary& pair) {
  const bool up =
      !tasks_with(c, pair, Verdict::kBetter).empty() || average_is(pair, Verdict::kBetter);
  const bool down =
      !tasks_with(c, pair, Verdict::kWorse).empty() || average_is(pair, Verdict::kWorse);
  if (up && down) return Standing::kMixed;
  return up ? Standing::kAhead : down ? Standing::kBehind : Standing::kUndecided;
}

const PairSummary* find_pair(const Comparison& c, std::size_t a, std::size_t b) {
  for (const auto* list : {&c.against_baseline, &c.between_variants}) {
    for (const PairSummary& p : *list) {
      if ((p.baseline == a && p.variant == b) || (p.baseline == b && p.variant == a)) return &p;
    }
  }
  return nullptr;
}

// Is `a` ahead of `b`, as their pair's verdicts say?
Standing standing_of(const Comparison& c, std::size_t a, std::size_t b) {
  const PairSummary* pair = find_pair(c, a, b);
  QX_CHECK(pair != nullptr);
  const Standing s = standing(c, *pair);
  if (pair->variant == a || s == Standing::kMixed || s == Standing::kUndecided) return s;
  return s == Standing::kAhead ? Standing::kBehind : Standing::kAhead;
}

// The runs one chooses among: the variants, and the baseline too when there is only one variant.
std::vector<std::size_t> candidates(const Comparison& c) {
  std::vector<std::size_t> out;
  for (std::size_t r = 0; r < c.runs.size(); ++r) {
    if (r != c.baseline || c.runs.size() == 2) out.push_back(r);
  }
  return out;
}

std::optional<std::size_t> ahead_of_all(const Comparison& c,
                                        const std::vector<std::size_t>& among) {
  for (const std::size_t a : among) {
    const bool all = std::all_of(among.begin(), among.end(), [&](std::size_t b) {
      return a == b || standing_of(c, a, b) == Standing::kAhead;
    });
    if (all) return a;
  }
  return std::nullopt;
}

std::optional<std::size_t> smallest(const Comparison& c, const std::vector<std::size_t>& among) {
  std::optional<std::size_t> best;
  for (const std::size_t r : among) {
    if (!c.runs[r].tensor_bytes) return std::nullopt;
    if (!best || *c.runs[r].tensor_bytes < *c.runs[*best].tensor_bytes) best = r;
  }
  return best;
}

std::string size_text(std::int64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

std::vector<std::string> names_of(const Comparison& c, const std::vector<std::size_t>& runs) {
  std::vector<std::string> out;
  for (const std::size_t r : runs) out.push_back(c.runs[r].name);
  return out;
}

// The largest over tasks of the smallest difference that would have been seen; nothing when
// unknown.
std::optional<double> blind_spot(const Comparison& c, const PairSummary& pair) {
  std::optional<double> largest;
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    const double d = pair.tasks[t].detectable;
    if (!c.tasks[t].informative || std::isnan(d)) continue;
    largest = std::max(largest.value_or(0), d);
  }
  return largest;
}

std::string pair_sentence(const Comparison& c, const PairSummary& pair) {
  const std::string& variant = c.runs[pair.variant].name;
  const std::string& baseline = c.runs[pair.baseline].name;
  const std::vector<std::string> better = tasks_with(c, pair, Verdict::kBetter);
  const std::vector<std::string> worse = tasks_with(c, pair, Verdict::kWorse);
  std::vector<std::string> parts;
  if (!worse.empty()) parts.push_back("worse on " + join(worse));
  if (!better.empty()) parts.push_back("better on " + join(better));
  std::size_t informative = 0, rest = 0;
  for (std::size_t t = 0; t < c.tasks.size(); ++t) {
    if (!c.tasks[t].informative) continue;
    ++informative;
    rest += pair.tasks[t].verdict == Verdict::kIndistinguishable ? 1 : 0;
  }
  if (informative == 0 && parts.empty()) {
    parts.push_back("not comparable here, because no task carries information");
  } else if (parts.empty()) {
    parts.push_back(fmt::format("indistinguishable on {} with information",
                                rest == 1 ? "the one task" : fmt::format("all {} tasks", rest)));
  } else if (rest > 0) {
    parts.push_back(fmt::format("indistinguishable on the other {}", rest));
  }
  std::string text = fmt::format("Against {}, {} is {}", baseline, variant, join(parts));
  if (pair.average) {
    text += fmt::format("; on the average of {} tasks it is {} ({} points, {})", informative,
                        verdict_name(pair.average->verdict), points(pair.average->difference),
                        interval_text(pair.average->interval));
  }
  return text + ".";
}

std::string choice_sentence(const Comparison& c) {
  const std::vector<std::size_t> among = candidates(c);
  if (const auto winner = ahead_of_all(c, among)) {
    return fmt::format("Choose {}: these data show it ahead of {}.", c.runs[*winner].name,
                       c.runs.size() == 2 ? "the other" : "every other variant");
  }
  bool mixed = false, some_ahead = false;
  for (const std::size_t a : among) {
    for (const std::size_t b : among) {
      if (a == b) continue;
      mixed = mixed || standing_of(c, a, b) == Standing::kMixed;
      some_ahead = some_ahead || standing_of(c, a, b) == Standing::kAhead;
    }
  }
  std::string text;
  if (mixed) {
    text = fmt::format("Between {} the choice depends on the task, as the verdicts above say.",
                       join(names_of(c, among)));
  } else if (some_ahead) {
    text = fmt::format("No single one of {} is shown ahead of all the others.",
                       join(names_of(c, among)));
  } else {
    text = fmt::format("The data do not decide between {} by score.", join(names_of(c, among)));
  }
  if (const auto s = smallest(c, among); s && !mixed && !some_ahead) {
    text += fmt::format(" If size matters, {} is the smallest ({}).", c.runs[*s].name,
                        size_text(*c.runs[*s].tensor_bytes));
  }
  return text;
}

std::string power_sentence(const Comparison& c) {
  const auto& pairs = c.between_variants.empty() ? c.against_baseline : c.between_variants;
  std::optional<double> largest;
  for (const PairSummary& pair : pairs) {
    if (const auto d = blind_spot(c, pair)) largest = std::max(largest.value_or(0), *d);
  }
  if (!largest) return "";
  return fmt::format(
      " With this many items, a difference below {:.1f} points on a single task could have "
      "gone unseen (80 % power, before Holm's correction).",
      *largest * 100);
}

std::string uninformative_sentence(const Comparison& c) {
  std::vector<std::string> tasks;
  for (const TaskSummary& t : c.tasks) {
    if (!t.informative) tasks.push_back(t.task);
  }
  if (tasks.empty()) return "";
  return fmt::format(
      " {} {} no information (nearly every item got the same answer index) and {} left out of the "
      "averages.",
      join(tasks), tasks.size() == 1 ? "carries" : "carry", tasks.size() == 1 ? "is" : "are");
}

}  // namespace

std::vector<Recommendation> recommend(const Comparison& c) {
  std::vector<Recommendation> out;
  const std::vector<std::size_t> among = candidates(c);
  Recommendation best;
  best.use = "best scores";
  if (const auto winner = ahead_of_all(c, among)) {
    best.choice = c.runs[*winner].name;
    best.verdict = Verdict::kBetter;
    best.because =
        "better on at least one task or on the average, and worse on none, against each other one";
  } else {
    best.because = fmt::format("the data do not decide between {}", join(names_of(c, among)));
  }
  out.push_back(best);

  std::vector<std::size_t> close{c.baseline};
  for (const PairSummary& pair : c.against_baseline) {
    if (standing(c, pair) == Standing::kUndecided) close.push_back(pair.variant);
  }
  Recommendation small;
  small.use = fmt::format("smallest that is indistinguishable from {}", c.runs[c.baseline].name);
  if (close.size() == 1) {
    small.because = "no variant is indistinguishable from it on every task and on the average";
  } else if (const auto s = smallest(c, close); s && *s != c.baseline) {
    small.choice = c.runs[*s].name;
    small.because = fmt::format("indistinguishable on every task and on the average, {} against {}",
                                size_text(*c.runs[*s].tensor_bytes),
                                size_text(*c.runs[c.baseline].tensor_bytes));
  } else {
    small.because =
        s ? "no indistinguishable variant is smaller" : "the runs do not record their sizes";
  }
  out.push_back(small);
  return out;
}

std::string paragraph(const Comparison& c) {
  std::string text;
  for (const PairSummary& pair : c.against_baseline) text += pair_sentence(c, pair) + " ";
  for (const PairSummary& pair : c.between_variants) text += pair_sentence(c, pair) + " ";
  return text + choice_sentence(c) + power_sentence(c) + uninformative_sentence(c);
}

}  // namespace qx
