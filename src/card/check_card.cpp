// SPDX-License-Identifier: Apache-2.0
#include "card/check_card.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "audit/audit.h"
#include "base/error.h"
#include "card/card_text.h"
#include "card/facts.h"
#include "card/write_card.h"
#include "compare/run_results.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxRuns = 256;

// A run's name becomes a folder's: nothing that leads elsewhere.
bool is_folder_name(const std::string& name) {
  return !name.empty() && name.size() < 256 && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
}

fs::path run_folder(const fs::path& runs, const std::string& name, const std::string& place) {
  if (!is_folder_name(name))
    fail(place, "got '{}' as the name of a run, expected a folder's", name);
  if (!fs::is_regular_file(runs / name / "run.json")) {
    fail(place, "names run '{}', which {} does not hold", name, runs.string());
  }
  return runs / name;
}

CardRequest request_of(const Json& origin, const fs::path& runs, const std::string& file) {
  const std::string place = file + ": comment 'qx card'";
  if (!origin.is_object()) fail(place, "got {}, expected an object", origin.type_name());
  if (const std::int64_t format = json_int(origin, "format", place); format != kCardFormat) {
    fail(place, "key 'format': got {}, expected {}", format, kCardFormat);
  }
  CardRequest request;
  request.run = run_folder(runs, json_string(origin, "run", place), place);
  const Json& with = json_member(origin, "with");
  if (!with.is_array() || with.size() > kMaxRuns) {
    fail(place, "key 'with': expected a list of at most {} runs", kMaxRuns);
  }
  for (const Json& name : with) {
    if (!name.is_string()) fail(place, "key 'with': got {}, expected text", name.type_name());
    request.with.push_back(run_folder(runs, name.get<std::string>(), place));
  }
  request.base = json_string_or(origin, "base", "", place);
  request.metric = json_string_or(origin, "metric", "default", place);
  request.margin = json_number_or(origin, "margin", request.margin, place);
  request.title = json_string_or(origin, "title", "", place);
  request.repository = json_string_or(origin, "repository", "", place);
  return request;
}

class Checker {
 public:
  // has_model: the model's directory is there.
  Checker(const CardText& card, CardCheck& check, bool has_model)
      : card_(card), check_(check), has_model_(has_model) {}

  void compare_with(const CardText& wanted) {
    compare_results(wanted);
    std::map<std::string, std::size_t> seen;  // tables of one heading, in order
    for (const CardTable& table : wanted.tables) {
      const std::size_t nth = seen[table.heading]++;
      const CardTable* found = table_of(table.heading, nth);
      if (found != nullptr) {
        compare_tables(*found, table);
      } else {
        missing_section(table.heading, "table");
      }
    }
    compare_items(wanted);
  }

 private:
  void problem(std::size_t line, std::string text) {
    check_.problems.push_back({line, std::move(text)});
  }
  void compare(std::size_t line, const std::string& what, const std::string& says,
               const std::string& gives) {
    ++check_.checked;
    if (says == gives) return;
    problem(line, fmt::format("{}: says {}, the runs give {}", what, quoted(says), quoted(gives)));
  }
  static std::string quoted(const std::string& text) {
    return text.empty() ? "nothing" : "'" + text + "'";
  }

  const CardTable* table_of(const std::string& heading, std::size_t nth) const {
    for (const CardTable& table : card_.tables) {
      if (table.heading == heading && nth-- == 0) return &table;
    }
    return nullptr;
  }

  // A section that was taken out claims nothing; but scores without their verdicts do.
  void missing_section(const std::string& heading, const char* what) {
    if (heading.starts_with("Against the base")) {
      problem(0, fmt::format("the {} '{}' is missing", what, heading));
    } else {
      check_.notes.push_back(fmt::format("no {} under '{}'; the runs have one", what, heading));
    }
  }

  void compare_tables(const CardTable& card, const CardTable& wanted) {
    std::map<std::string, std::size_t> columns;
    for (std::size_t c = 0; c < card.header.cells.size(); ++c) columns[card.header.cells[c]] = c;
    for (const std::string& name : wanted.header.cells) {
      if (!columns.contains(name)) {
        problem(card.header.line,
                fmt::format("table '{}' lacks the column '{}'", wanted.heading, name));
      }
      columns.erase(name);
    }
    for (const auto& [name, column] : columns) {
      problem(card.header.line,
              fmt::format("table '{}': column '{}' is not from the runs", wanted.heading, name));
    }
    // Rows of one label are told apart by their order.
    std::map<std::pair<std::string, std::size_t>, const CardRow*> rows;
    std::map<std::string, std::size_t> seen;
    for (const CardRow& row : card.rows) rows[{label(row), seen[label(row)]++}] = &row;
    seen.clear();
    for (const CardRow& row : wanted.rows) {
      const auto found = rows.find({label(row), seen[label(row)]++});
      if (found == rows.end()) {
        problem(card.header.line,
                fmt::format("table '{}' lacks the row '{}'", wanted.heading, label(row)));
        continue;
      }
      compare_rows(card.header, *found->second, wanted.header, row);
      rows.erase(found);
    }
    for (const auto& [key, row] : rows) {
      // What the model was made from is known from its directory alone.
      if (!has_model_ && key.first.starts_with("source: ")) continue;
      problem(row->line,
              fmt::format("table '{}': row '{}' is not from the runs", wanted.heading, key.first));
    }
  }

  static std::string label(const CardRow& row) {
    return row.cells.empty() ? std::string() : row.cells.front();
  }

  void compare_rows(const CardRow& card_header, const CardRow& card, const CardRow& wanted_header,
                    const CardRow& wanted) {
    for (std::size_t c = 1; c < wanted.cells.size() && c < wanted_header.cells.size(); ++c) {
      const auto column =
          std::find(card_header.cells.begin(), card_header.cells.end(), wanted_header.cells[c]);
      if (column == card_header.cells.end()) continue;
      const auto at = static_cast<std::size_t>(column - card_header.cells.begin());
      compare(card.line, label(wanted) + ", " + wanted_header.cells[c],
              at < card.cells.size() ? card.cells[at] : "", wanted.cells[c]);
    }
  }

  void compare_items(const CardText& wanted) {
    std::multiset<std::pair<std::string, std::string>> expected;
    std::set<std::string> headings;
    for (const CardItem& item : wanted.items) {
      expected.insert({item.heading, item.text});
      headings.insert(item.heading);
    }
    for (const CardItem& item : card_.items) {
      if (!headings.contains(item.heading)) continue;
      ++check_.checked;
      const auto found = expected.find({item.heading, item.text});
      if (found != expected.end()) {
        expected.erase(found);
      } else {
        problem(item.line, fmt::format("'{}' is not what the runs give", item.text));
      }
    }
    for (const auto& [heading, text] : expected) {
      const bool has_section =
          std::find(card_.headings.begin(), card_.headings.end(), heading) != card_.headings.end();
      if (has_section || heading.starts_with("Against the base")) {
        problem(0, fmt::format("'{}' is missing under '{}'", text, heading));
      } else {
        const std::string note = fmt::format("no section '{}'; the runs have one", heading);
        if (std::find(check_.notes.begin(), check_.notes.end(), note) == check_.notes.end()) {
          check_.notes.push_back(note);
        }
      }
    }
  }

  struct Result {
    std::size_t line = 0;
    std::string value;
  };

  // Of model-index: "arc_easy (ARC-Easy) acc_norm" and the like. What is not shaped as it must be
  // is left out, and then missed.
  static std::map<std::string, Result> results_of(const CardText& card) {
    std::map<std::string, Result> all;
    if (!card.front) return all;
    const auto line = [&](const std::string& pointer) {
      const auto found = card.front->lines.find(pointer);
      return found == card.front->lines.end() ? std::size_t{0} : found->second;
    };
    const auto add = [&](const std::string& key, const std::string& pointer, const Json& value) {
      all[key] = {line(pointer),
                  value.is_string() ? value.get<std::string>() : dump_json(value, -1, false, true)};
    };
    const Json& models = json_member(card.front->value, "model-index");
    if (!models.is_array() || models.empty()) return all;
    const Json& results = json_member(models.front(), "results");
    if (!results.is_array()) return all;
    for (std::size_t r = 0; r < results.size(); ++r) {
      const Json& dataset = json_member(results[r], "dataset");
      const Json &name = json_member(dataset, "name"),
                 &metrics = json_member(results[r], "metrics");
      if (!name.is_string() || !metrics.is_array()) continue;
      const std::string task = name.get<std::string>(),
                        at = fmt::format("/model-index/0/results/{}", r);
      const Json& args = json_member(dataset, "args");
      if (args.is_object()) {
        for (const auto& [key, value] : args.items()) {
          add(task + " " + key, at + "/dataset/args/" + key, value);
        }
      }
      for (std::size_t m = 0; m < metrics.size(); ++m) {
        const Json& type = json_member(metrics[m], "type");
        if (!type.is_string()) continue;
        add(task + " " + type.get<std::string>(), fmt::format("{}/metrics/{}/value", at, m),
            json_member(metrics[m], "value"));
        const Json& title = json_member(metrics[m], "name");
        if (title.is_string()) {
          add(task + " " + type.get<std::string>() + " name",
              fmt::format("{}/metrics/{}/name", at, m), title);
        }
      }
    }
    return all;
  }

  void compare_results(const CardText& wanted) {
    std::map<std::string, Result> found = results_of(card_);
    if (found.empty()) {
      check_.notes.push_back("the front matter holds no results (model-index)");
      return;
    }
    for (const auto& [key, result] : results_of(wanted)) {
      const auto it = found.find(key);
      if (it == found.end()) {
        problem(0, fmt::format("front matter lacks the result {}", key));
        continue;
      }
      compare(it->second.line, "front matter, " + key, it->second.value, result.value);
      found.erase(it);
    }
    for (const auto& [key, result] : found) {
      check_.notes.push_back(
          fmt::format("line {}: result {} is not from these runs, not checked", result.line, key));
    }
  }

  const CardText& card_;
  CardCheck& check_;
  bool has_model_;
};

// Accuracies of a run under every metric that a card may mean, by task.
std::map<std::string, std::vector<double>> accuracies(const fs::path& folder) {
  std::map<std::string, std::vector<double>> all;
  for (const Metric metric : {Metric::kDefault, Metric::kAcc}) {
    const LoadedRuns loaded = load_runs({folder}, metric);
    for (const auto& [task, results] : loaded.runs.front().tasks) {
      const auto right = std::count_if(results.items.begin(), results.items.end(),
                                       [](const ItemResult& item) { return item.right; });
      all[task].push_back(static_cast<double>(right) / static_cast<double>(results.items.size()));
    }
  }
  return all;
}

void check_score_table(const ScoreTable& table, const fs::path& runs, CardCheck& check) {
  for (std::size_t v = 0; v < table.variants.size(); ++v) {
    const std::string& name = table.variants[v];
    if (!is_folder_name(name) || !fs::is_regular_file(runs / name / "run.json")) {
      check.notes.push_back(
          fmt::format("line {}: no run is called '{}', its scores are not checked",
                      table.first_line + 1, name));
      continue;
    }
    const auto known = accuracies(runs / name);
    for (const TaskRow& row : table.rows) {
      if (v >= row.scores.size() || !row.scores[v]) continue;
      const PrintedScore& printed = *row.scores[v];
      const auto task = known.find(row.task);
      if (task == known.end()) {
        check.notes.push_back(fmt::format("run {} has no task {}", name, row.task));
        continue;
      }
      ++check.checked;
      const bool holds =
          std::any_of(task->second.begin(), task->second.end(), [&](double accuracy) {
            return std::fabs(accuracy - printed.value) <= printed.half_unit + 1e-9;
          });
      if (holds) continue;
      check.problems.push_back(
          {table.first_line + 1, fmt::format("{}, {}: says {:g}, the run gives {:.4f}", row.task,
                                             name, printed.value, task->second.front())});
    }
  }
}

// Score tables under headings that the generated card does not have.
void check_other_tables(const std::vector<std::string>& lines, const CardText& card,
                        const CardText& wanted, const fs::path& runs, CardCheck& check) {
  std::map<std::string, std::size_t> left;  // tables of a heading that were compared cell by cell
  for (const CardTable& table : wanted.tables) ++left[table.heading];
  std::set<std::size_t> ours;  // lines
  for (const CardTable& table : card.tables) {
    std::size_t& of_heading = left[table.heading];
    if (of_heading == 0) continue;
    --of_heading;
    ours.insert(table.header.line);
  }
  for (const ScoreTable& table : find_score_tables(lines)) {
    if (!ours.contains(table.first_line + 1)) check_score_table(table, runs, check);
  }
}

std::vector<Claim> claims_of(std::string_view text, const std::string& file) {
  try {
    return audit_text(text, file).claims;
  } catch (const Error&) {
    return {};  // no score table: nothing to judge claims by
  }
}

std::size_t line_holding(const std::vector<std::string>& lines, const std::string& claim) {
  const std::string start = claim.substr(0, 24);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].find(start) != std::string::npos) return i + 1;
  }
  return 0;
}

void check_claims(std::string_view text, const std::vector<std::string>& lines,
                  const std::string& wanted, const std::string& file, CardCheck& check) {
  std::set<std::string> own;
  for (const Claim& claim : claims_of(wanted, file)) own.insert(claim.text);
  for (const Claim& claim : claims_of(text, file)) {
    const bool bad = claim.verdict == ClaimVerdict::kContradicted ||
                     claim.verdict == ClaimVerdict::kNotSupported;
    if (!bad || own.contains(claim.text)) continue;
    check.problems.push_back({line_holding(lines, claim.text),
                              fmt::format("claim '{}': {} by the card's own table ({})", claim.text,
                                          claim_verdict_name(claim.verdict), claim.evidence)});
  }
}

}  // namespace

CardCheck check_card(std::string_view text, const std::string& file, const fs::path& runs) {
  const CardText card = read_card(text, file);
  CardCheck check;
  std::string generated;
  CardText wanted;
  if (!card.origin.is_null()) {
    const CardFacts facts = gather_facts(request_of(card.origin, runs, file));
    generated = write_card(facts);
    wanted = read_card(generated, "generated card");
    if (!facts.model) {
      check.notes.push_back("the model directory of run " + facts.own().name +
                            " is not there, so its recipe is not checked");
    }
    Checker(card, check, facts.model.has_value()).compare_with(wanted);
  } else {
    check.notes.push_back(
        "no line says which runs the card was made from; score tables are "
        "compared with runs of their columns' names");
  }
  const std::vector<std::string> lines = split_text_lines(text);
  check_other_tables(lines, card, wanted, runs, check);
  if (check.checked == 0) {
    fail(file, "holds nothing that the runs in {} could be compared with", runs.string());
  }
  check_claims(text, lines, generated, file, check);
  std::stable_sort(check.problems.begin(), check.problems.end(),
                   [](const CardProblem& a, const CardProblem& b) {
                     return a.line != 0 && (b.line == 0 || a.line < b.line);
                   });
  return check;
}

std::string card_check_text(const CardCheck& check, const std::string& file) {
  std::string out;
  for (const CardProblem& p : check.problems) {
    out += p.line == 0 ? fmt::format("{}: {}\n", file, p.text)
                       : fmt::format("{}:{}: {}\n", file, p.line, p.text);
  }
  for (const std::string& note : check.notes) out += "note: " + note + "\n";
  return out + fmt::format("{} figures compared, {} no longer match\n", check.checked,
                           check.problems.size());
}

}  // namespace qx
