// SPDX-License-Identifier: Apache-2.0
#include "compare/gate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <locale>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "compare/standing.h"
#include "stats/stats.h"

namespace qx {
namespace {

constexpr std::size_t kLongestGate = 1000;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kZ = 1.959963984540054;  // of a two-sided 95 % interval

std::string_view strip(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t from = text.find_first_not_of(kBlanks);
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(kBlanks) - from + 1);
}

[[noreturn]] void refuse(std::string_view gate, std::string_view what) {
  throw UsageError(fmt::format("--gate: got '{}', {}", gate, what));
}

// A stream with the classic locale: strtod depends on the locale, from_chars is missing on macOS.
std::optional<double> parse_number(std::string_view text) {
  if (text.empty() || text.find_first_not_of("+-.0123456789eE") != std::string_view::npos) {
    return std::nullopt;
  }
  std::istringstream stream{std::string(text)};
  stream.imbue(std::locale::classic());
  double value = 0;
  stream >> value;
  if (stream.fail() || stream.peek() != std::char_traits<char>::eof() || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

enum class Kind { kTask, kMacro, kMicro, kKl, kTop1 };

struct Subject {
  Kind kind = Kind::kTask;
  std::string name;
};

// What may be asked of a comparison, paired or not.
struct Known {
  const Comparison* paired = nullptr;
  const std::vector<UnpairedPair>& unpaired;

  std::vector<std::string> variants() const {
    std::vector<std::string> names;
    if (paired != nullptr) {
      for (const PairSummary& pair : paired->against_baseline) {
        names.push_back(paired->runs[pair.variant].name);
      }
    }
    for (const UnpairedPair& pair : unpaired) names.push_back(pair.variant);
    return names;
  }
  std::vector<std::string> tasks() const {
    std::vector<std::string> names;
    const auto add = [&](const std::string& task) {
      if (std::find(names.begin(), names.end(), task) == names.end()) names.push_back(task);
    };
    if (paired != nullptr) {
      for (const TaskSummary& task : paired->tasks) add(task.task);
    }
    for (const UnpairedPair& pair : unpaired) {
      for (const UnpairedTask& task : pair.tasks) add(task.task);
    }
    return names;
  }
};

std::string join(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

std::optional<Subject> find_subject(const Known& known, const std::string& name) {
  const std::vector<std::string> tasks = known.tasks();
  if (std::find(tasks.begin(), tasks.end(), name) != tasks.end()) {
    return Subject{Kind::kTask, name};
  }
  if (name == "average" || name == "macro_average") return Subject{Kind::kMacro, name};
  if (name == "micro_average") return Subject{Kind::kMicro, name};
  if (name == "kl_mean") return Subject{Kind::kKl, name};
  if (name == "top1_agreement") return Subject{Kind::kTop1, name};
  return std::nullopt;
}

// The variants that a gate is about, and what it asks of them.
struct Target {
  std::vector<std::string> variants;
  Subject subject;
};

Target find_target(const Known& known, const Gate& gate) {
  const std::vector<std::string> variants = known.variants();
  if (const auto subject = find_subject(known, gate.subject)) return {variants, *subject};
  for (const std::string& variant : variants) {
    if (!gate.subject.starts_with(variant + ":")) continue;
    const std::string rest(strip(std::string_view(gate.subject).substr(variant.size() + 1)));
    if (const auto subject = find_subject(known, rest)) return {{variant}, *subject};
    refuse(gate.text, fmt::format("expected one of these after '{}:': {}, average, micro_average, "
                                  "kl_mean, top1_agreement",
                                  variant, join(known.tasks())));
  }
  refuse(gate.text,
         fmt::format("expected a task ({}), average, micro_average, kl_mean or top1_agreement, or "
                     "one of them after a variant and a colon ({})",
                     join(known.tasks()), join(variants)));
}

void check_limit(const Gate& gate, Kind kind) {
  if (kind == Kind::kKl && !(gate.limit >= 0)) {
    refuse(gate.text, "expected a divergence of at least 0, in nats");
  }
  if (kind == Kind::kTop1 && !(gate.limit > 0 && gate.limit <= 1)) {
    refuse(gate.text, "expected a share above 0 and up to 1");
  }
  if (kind != Kind::kKl && kind != Kind::kTop1 && !(gate.limit > -1 && gate.limit < 1)) {
    refuse(gate.text, "expected a difference of accuracies between -1 and 1: one point is 0.01");
  }
}

struct Measured {
  double estimate = kNaN;
  Interval interval{kNaN, kNaN};
  // Tasks that an average leaves out and on which the variant is worse: it then cannot show that
  // the variant is good enough.
  std::vector<std::string> lost = {};
};

std::string run_place(const RunInfo& run) {
  return run.folder.empty() ? run.name : run.folder.string();
}

Measured measure_distance(const RunInfo& run, Kind kind) {
  if (!run.distance) {
    fail(run_place(run),
         "holds no divergence.json, expected one for a gate on {}; qx divergence -o RUNS makes it",
         kind == Kind::kKl ? "kl_mean" : "top1_agreement");
  }
  const DistanceFacts& d = *run.distance;
  if (kind == Kind::kKl) {
    return {d.kl_mean, {d.kl_mean - kZ * d.kl_stderr, d.kl_mean + kZ * d.kl_stderr}};
  }
  const auto same =
      static_cast<std::int64_t>(std::llround(d.top1_agreement * static_cast<double>(d.tokens)));
  return {d.top1_agreement, wilson_interval(same, d.tokens, kConfidence)};
}

Measured measure_average(const Comparison& c, const PairSummary& pair,
                         const std::optional<AverageDifference>& average) {
  if (!average) return {};
  Measured measured{average->difference, average->interval};
  for (const std::size_t t : tasks_lost(c, pair)) measured.lost.push_back(c.tasks[t].task);
  return measured;
}

Measured measure_paired(const Comparison& c, const PairSummary& pair, const Subject& subject) {
  switch (subject.kind) {
    case Kind::kTask:
      for (std::size_t t = 0; t < c.tasks.size(); ++t) {
        if (c.tasks[t].task == subject.name) {
          return {pair.tasks[t].difference, pair.tasks[t].interval};
        }
      }
      fail(c.runs[pair.variant].name,
           "{} is not among the tasks compared by item, expected it for a gate", subject.name);
    case Kind::kMacro:
      return measure_average(c, pair, pair.average);
    case Kind::kMicro:
      return measure_average(c, pair, pair.micro);
    case Kind::kKl:
    case Kind::kTop1:
      return measure_distance(c.runs[pair.variant], subject.kind);
  }
  return {};
}

Measured measure_unpaired(const UnpairedPair& pair, const Subject& subject) {
  for (const UnpairedTask& task : pair.tasks) {
    if (subject.kind == Kind::kTask && task.task == subject.name) {
      return {task.difference, task.interval};
    }
  }
  fail(pair.variant, "{} is not known of a run without answers per item, expected it for a gate",
       subject.name);
}

Measured measure(const Known& known, const std::string& variant, const Subject& subject) {
  if (known.paired != nullptr) {
    for (const PairSummary& pair : known.paired->against_baseline) {
      if (known.paired->runs[pair.variant].name == variant) {
        return measure_paired(*known.paired, pair, subject);
      }
    }
  }
  for (const UnpairedPair& pair : known.unpaired) {
    if (pair.variant == variant) return measure_unpaired(pair, subject);
  }
  return {};
}

GateResult judge(const Gate& gate, const std::string& variant, const Subject& subject,
                 const Measured& measured) {
  GateResult r;
  r.gate = gate.text;
  r.variant = variant;
  r.subject = subject.name;
  r.estimate = measured.estimate;
  r.bound = gate.above ? measured.interval.low : measured.interval.high;
  r.limit = gate.limit;
  r.above = gate.above;
  r.held = gate.above ? (gate.or_equal ? r.bound >= r.limit : r.bound > r.limit)
                      : (gate.or_equal ? r.bound <= r.limit : r.bound < r.limit);
  const bool difference = subject.kind != Kind::kKl && subject.kind != Kind::kTop1;
  const auto shown = [&](double x) {
    return difference ? fmt::format("{:+.4f}", x) : fmt::format("{:.4f}", x);
  };
  const std::string what = fmt::format("{} of {}", subject.name, variant);
  if (std::isnan(r.bound)) {
    r.reason = fmt::format("{}: the data give no 95 % bound, which {} asks for", what, gate.text);
    return r;
  }
  r.reason = fmt::format("{}: {} 95 % bound {} (estimate {}) {} {}{} {}", what,
                         gate.above ? "lower" : "upper", shown(r.bound), shown(r.estimate),
                         r.held ? "is" : "is not", gate.above ? ">" : "<", gate.or_equal ? "=" : "",
                         gate.limit);
  if (gate.above && !measured.lost.empty()) {
    r.reason += fmt::format("{} {} is worse on {}, which the average leaves out",
                            r.held ? ", but" : ";", variant, join(measured.lost));
    r.held = false;
  }
  return r;
}

}  // namespace

Gate parse_gate(std::string_view text) {
  Gate gate;
  gate.text = strip(text);
  if (gate.text.size() > kLongestGate) {
    refuse(gate.text.substr(0, 40) + "..", fmt::format("expected at most {} bytes", kLongestGate));
  }
  // The last one: names may hold such characters, the number does not.
  const std::size_t at = gate.text.find_last_of("<>");
  if (at == std::string::npos) {
    refuse(gate.text, "expected SUBJECT>NUMBER or SUBJECT<NUMBER, such as 'hellaswag>-0.01'");
  }
  const std::string_view all = gate.text;
  gate.above = all[at] == '>';
  gate.subject = strip(all.substr(0, at));
  std::string_view number = all.substr(at + 1);
  if (number.starts_with('=')) {
    gate.or_equal = true;
    number.remove_prefix(1);
  }
  if (gate.subject.empty()) {
    refuse(gate.text, "expected a task, average or kl_mean before the limit");
  }
  const auto limit = parse_number(strip(number));
  if (!limit) {
    refuse(gate.text, fmt::format("expected a number after '{}', such as -0.01 for one point",
                                  all.substr(at, gate.or_equal ? 2 : 1)));
  }
  gate.limit = *limit;
  return gate;
}

std::vector<GateResult> check_gates(const Comparison* paired,
                                    const std::vector<UnpairedPair>& unpaired,
                                    const std::vector<Gate>& gates) {
  const Known known{paired, unpaired};
  std::vector<GateResult> results;
  for (const Gate& gate : gates) {
    const Target target = find_target(known, gate);
    check_limit(gate, target.subject.kind);
    for (const std::string& variant : target.variants) {
      results.push_back(
          judge(gate, variant, target.subject, measure(known, variant, target.subject)));
    }
  }
  return results;
}

std::string broken_gates(const std::vector<GateResult>& results) {
  std::string lines;
  int broken = 0;
  for (const GateResult& r : results) {
    if (r.held) continue;
    ++broken;
    lines += "\n  " + r.reason;
  }
  if (broken == 0) return "";
  return fmt::format("{} of {} gates {} not hold{}", broken, results.size(),
                     broken == 1 ? "does" : "do", lines);
}

}  // namespace qx
