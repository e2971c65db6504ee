// An item as a person reads it in a terminal.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "eval/show.h"
#include "runs/choice_metric.h"
#include "text/visible.h"

namespace qx {
namespace {

constexpr int kLongestToken = 24;  // columns of a token's text in a table

std::string one_line(std::string_view text) {
  return visible_text(text, Blanks::kVisible);
}

std::string pad(std::string text, int width, bool right = false) {
  const int missing = std::max(0, width - display_width(text));
  const std::string blanks(static_cast<std::size_t>(missing), ' ');
  return right ? blanks + text : text + blanks;
}

std::string setting_text(const RecordedRun& run, const char* key) {
  const Json& value = run.setting(key);
  if (value.is_string()) return without_controls(value.get<std::string>());
  return value.is_null() ? "unknown" : value.dump();
}

std::string number(double value) {
  return std::isfinite(value) ? fmt::format("{:.4f}", value) : fmt::format("{}", value);
}

class Page {
 public:
  Page(const RecordedRun& run, const ShownItem& item, const TextStyle& style)
      : run_(run), item_(item), style_(style), width_(std::max(20, style.width)) {}

  std::string text() {
    head();
    prompts();
    choices();
    for (std::size_t c = 0; c < item_.choices.size(); ++c) choice_tokens(c);
    remarks();
    return std::move(out_);
  }

 private:
  std::string paint(const char* code, std::string text) const {
    return style_.colour ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : text;
  }
  std::string bold(std::string text) const { return paint("1", std::move(text)); }
  // A line cut to the width; colours go around it afterwards, so that they never count.
  void line(std::string_view text, const char* code = nullptr) {
    std::string cut = cut_to_width(text, width_);
    cut.erase(cut.find_last_not_of(' ') + 1);
    out_ += code != nullptr && !cut.empty() ? paint(code, cut) : cut;
    out_ += '\n';
  }
  void heading(std::string_view text) {
    out_ += '\n';
    line(text, "1");
  }
  void wrapped(std::string_view text, std::string_view indent = "  ") {
    out_ += wrap_text(text, width_, indent);
  }

  void head() {
    line(fmt::format("{}  {}  item {}", one_line(run_.folder().string()), item_.logged.task,
                     item_.logged.index),
         "1");
    wrapped(fmt::format("row: {}doc_hash {}",
                        item_.place.empty() ? "" : without_controls(item_.place) + ", ",
                        without_controls(item_.logged.doc_hash)));
    wrapped("asked: " + conditions_text(run_));
  }

  void prompts() {
    for (std::size_t c = 0; c < item_.choices.size(); ++c) {
      const ShownChoice& choice = item_.choices[c];
      if (!choice.context) continue;
      const bool alone = c > 0 || differ_in_context();
      if (c > 0 && !differ_in_context()) break;
      const std::string what = choice.continuation ? "Prompt" : "Question, before the template";
      heading(alone ? fmt::format("{} of choice {}", what, c) : what);
      wrapped(visible_text(*choice.context, Blanks::kPlain), "  \u2502 ");
      context_tokens(choice);
    }
  }

  bool differ_in_context() const {
    return std::any_of(item_.choices.begin(), item_.choices.end(), [&](const ShownChoice& c) {
      return c.context != item_.choices.front().context || c.cut_tokens > 0;
    });
  }

  void context_tokens(const ShownChoice& choice) {
    if (choice.ids.empty()) return;
    const auto count = static_cast<std::size_t>(choice.scored_begin);
    std::string text;
    for (std::size_t i = 0; i < count; ++i) {
      if (i > 0) text += "| ";
      text +=
          choice.id_texts.empty() ? std::to_string(choice.ids[i]) : one_line(choice.id_texts[i]);
    }
    line(fmt::format("  {} tokens{}:", count,
                     choice.cut_tokens > 0
                         ? fmt::format(" after {} were cut on the left to fit", choice.cut_tokens)
                         : ""));
    wrapped(text, "    ");
  }

  std::string choice_text(std::size_t c) const {
    const ShownChoice& choice = item_.choices[c];
    if (choice.text) return visible_text(*choice.text, Blanks::kEdges);
    if (choice.continuation) return visible_text(*choice.continuation, Blanks::kEdges);
    return "(text unknown)";
  }

  void choices() {
    const std::vector<ChoiceAnswer> answers = item_.answers();
    const std::size_t gold = static_cast<std::size_t>(item_.logged.gold);
    std::vector<std::vector<std::string>> columns;  // a head, then one cell for each choice
    std::vector<std::string> verdicts;
    const ChoiceMetric counting = default_choice_metric(item_.logged);
    for (const ChoiceMetric metric : kChoiceMetrics) {
      if (!has_choice_metric(answers, metric)) continue;
      const std::vector<double> values = choice_values(answers, metric);
      const std::size_t pick = picked_choice(answers, metric);
      columns.push_back({std::string(choice_metric_name(metric)) + " "});
      for (std::size_t c = 0; c < values.size(); ++c) {
        columns.back().push_back(number(values[c]) + (c == pick ? "*" : " "));
      }
      verdicts.push_back(
          fmt::format("{} picks {}: {}, by {}{}", choice_metric_name(metric), pick,
                      pick == gold ? "right" : "wrong",
                      number(std::abs(gold_margin(answers, item_.logged.gold, metric))),
                      metric == counting ? " (this one counts)" : ""));
    }
    if (answers.size() == 1) {
      verdicts = {answers[0].greedy ? "right: greedy decoding gives it"
                                    : "wrong: greedy decoding gives another text"};
    }
    heading("Choices (* is what a metric picks; its value is what it compares)");
    std::vector<std::string> rows(item_.choices.size() + 1);
    for (const auto& column : columns) {
      int widest = 0;
      for (const std::string& cell : column) widest = std::max(widest, display_width(cell));
      for (std::size_t r = 0; r < rows.size(); ++r) rows[r] += "  " + pad(column[r], widest, true);
    }
    line("        tokens" + rows[0] + "  text", "2");
    for (std::size_t c = 0; c < item_.choices.size(); ++c) {
      const std::string tokens = answers[c].tokens > 0 ? std::to_string(answers[c].tokens) : "?";
      line(fmt::format("  {} {:<4} {:>6}{}  {}", c, c == gold ? "gold" : "", tokens, rows[c + 1],
                       choice_text(c)),
           c == gold ? "32" : nullptr);
    }
    const std::size_t pick = picked_choice(answers, counting);
    std::string summary = fmt::format("gold is {}", gold);
    for (const std::string& verdict : verdicts) summary += "; " + verdict;
    std::string text = wrap_text(summary, width_, "  ");
    text.pop_back();
    out_ += paint(pick == gold ? "32" : "31", text) + "\n";
  }

  void choice_tokens(std::size_t c) {
    const ShownChoice& choice = item_.choices[c];
    const bool gold = static_cast<int>(c) == item_.logged.gold;
    if (choice.ids.empty()) return;
    heading(fmt::format("Choice {}{}: tokens {} to {} are scored", c, gold ? " (gold)" : "",
                        choice.scored_begin, choice.ids.size() - 1));
    if (choice.scored.empty()) {
      ids_only(choice);
    } else {
      scored_table(choice);
    }
    sum(choice);
  }

  void ids_only(const ShownChoice& choice) {
    std::string text;
    for (std::size_t i = static_cast<std::size_t>(choice.scored_begin); i < choice.ids.size();
         ++i) {
      text += std::to_string(choice.ids[i]) + " ";
    }
    wrapped(text, "    ");
  }

  void scored_table(const ShownChoice& choice) {
    int widest = 5;
    for (const ShownToken& t : choice.scored) {
      widest = std::max(widest, std::min(kLongestToken, display_width(one_line(t.text))));
    }
    line(fmt::format("  {:>5} {:>7}  {}  {:>9} {:>11}  {}", "at", "id", pad("token", widest),
                     "logprob", "probability", "the most likely instead, if another"),
         "2");
    for (std::size_t i = 0; i < choice.scored.size(); ++i) {
      const ShownToken& t = choice.scored[i];
      std::string best;
      if (t.best != t.id) {
        best = fmt::format("{}  {}", cut_to_width(one_line(t.best_text), kLongestToken),
                           number(t.best_logprob));
      }
      line(fmt::format("  {:>5} {:>7}  {}  {:>9} {:>11.6f}  {}",
                       static_cast<std::size_t>(choice.scored_begin) + i, t.id,
                       pad(cut_to_width(one_line(t.text), widest), widest), number(t.logprob),
                       std::exp(t.logprob), best));
    }
  }

  void sum(const ShownChoice& choice) {
    if (!choice.now) {
      line(fmt::format("  logged sum {}", choice.logged.ll));
      return;
    }
    const bool equal = choice.now->ll == choice.logged.ll;
    line(equal ? fmt::format("  sum {}, the same double as logged", choice.now->ll)
               : fmt::format("  sum {}, logged {}: differs by {:.3g}", choice.now->ll,
                             choice.logged.ll, choice.now->ll - choice.logged.ll),
         equal ? nullptr : "31");
  }

  void remarks() {
    if (item_.recomputed && item_.equal) {
      out_ += '\n';
      line("Recomputed: every number equals the logged one to the last bit.");
    }
    for (const std::string& note : item_.notes) remark("Note: " + note, "33");
    for (const std::string& what : item_.missing) remark("Missing: " + what, "33");
  }

  void remark(const std::string& text, const char* code) {
    std::string lines = wrap_text(without_controls(text), width_, "");
    lines.pop_back();
    out_ += "\n" + paint(code, lines) + "\n";
  }

  const RecordedRun& run_;
  const ShownItem& item_;
  TextStyle style_;
  int width_;
  std::string out_;
};

}  // namespace

std::string conditions_text(const RecordedRun& run) {
  if (run.imported()) {
    const Json& from = run.setting("imported_from");
    const auto part = [&](const char* key) {
      const bool known = from.is_object() && from.contains(key) && from[key].is_string();
      return known ? without_controls(from[key].get<std::string>()) : std::string("unknown");
    };
    return fmt::format("mode {}, {} convention, {}-shot; imported from {}, version {}",
                       setting_text(run, "mode"), setting_text(run, "convention"),
                       setting_text(run, "few_shot"), part("program"), part("version"));
  }
  return fmt::format("{}, {} convention, {}-shot, precision {}, {}-bit keys and values, kernels {}",
                     setting_text(run, "mode"), setting_text(run, "convention"),
                     setting_text(run, "few_shot"), setting_text(run, "precision"),
                     run.setting("kv_bits").is_null() ? "32" : setting_text(run, "kv_bits"),
                     setting_text(run, "kernels"));
}

std::string shown_text(const RecordedRun& run, const ShownItem& item, const TextStyle& style) {
  return Page(run, item, style).text();
}

}  // namespace qx
