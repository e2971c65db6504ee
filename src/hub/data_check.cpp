// SPDX-License-Identifier: Apache-2.0
#include "hub/data_check.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "hub/sources.h"
#include "hub/url.h"
#include "io/json.h"
#include "tasks/dataset.h"
#include "tasks/python_text.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// A share of one answer that no real set of the seven comes near (the largest, boolq, has 0.62).
constexpr double kSuspectShare = 0.9;
constexpr std::int64_t kEnoughRows = 20;  // for that share to mean something

// What is asked, without the choices. Items with a context for each choice (winogrande) ask by
// what follows, too.
std::string question_key(const TaskItem& item) {
  std::string key;
  for (const std::string& context : item.contexts) key += context + '\0';
  if (item.contexts.size() > 1 && !item.continuations.empty()) key += item.continuations.front();
  return sha256_hex(key);
}

std::string choices_key(const TaskItem& item) {
  std::string key = question_key(item);
  for (const std::string& choice : item.continuations) key += choice + '\0';
  return sha256_hex(key);
}

std::int64_t item_length(const TaskItem& item) {
  std::int64_t longest = 0;
  for (std::size_t i = 0; i < item.continuations.size(); ++i) {
    longest = std::max(longest, python_len(item.context_of(i)) + python_len(item.continuations[i]));
  }
  return longest;
}

void add_pair(std::vector<LinePair>& pairs, std::int64_t& count, LinePair pair, std::size_t limit) {
  ++count;
  if (pairs.size() < limit) pairs.push_back(pair);
}

void compare_rows(const std::vector<DataRow>& rows, std::size_t limit, FileCheck& check) {
  std::unordered_map<std::string, const DataRow*> documents, questions, items;
  for (const DataRow& row : rows) {
    const auto [document, new_document] = documents.emplace(row.doc_hash, &row);
    const auto [question, new_question] = questions.emplace(question_key(row.item), &row);
    const auto [item, new_item] = items.emplace(choices_key(row.item), &row);
    if (!new_document) {
      add_pair(check.duplicates, check.duplicate_count, {document->second->line, row.line}, limit);
    }
    if (!new_question) ++check.same_question_count;
    if (!new_item && item->second->item.gold != row.item.gold) {
      add_pair(check.contradictions, check.contradiction_count, {item->second->line, row.line},
               limit);
    }
  }
}

void count_answers(const std::vector<DataRow>& rows, FileCheck& check) {
  for (const DataRow& row : rows) {
    ++check.gold[row.item.gold];
    ++check.choices[static_cast<std::int64_t>(row.item.continuations.size())];
    const std::int64_t length = item_length(row.item);
    if (check.shortest_line == 0 || length < check.shortest) {
      check.shortest = length;
      check.shortest_line = row.line;
    }
    if (check.longest_line == 0 || length > check.longest) {
      check.longest = length;
      check.longest_line = row.line;
    }
  }
  for (const auto& [answer, count] : check.gold) {
    const double share = static_cast<double>(count) / static_cast<double>(rows.size());
    check.majority_share = std::max(check.majority_share, share);
  }
}

std::string pairs_text(const std::vector<LinePair>& pairs, std::int64_t count) {
  std::string text;
  for (const LinePair& p : pairs) {
    text += fmt::format("{}{} and {}", text.empty() ? "" : ", ", p.first, p.second);
  }
  return text + (static_cast<std::int64_t>(pairs.size()) < count ? ", .." : "");
}

void judge_rows(FileCheck& c) {
  for (const RowFault& fault : c.faults) {
    c.errors.push_back(fmt::format("line {}: {}", fault.line, fault.text));
  }
  const std::int64_t unlisted = c.fault_count - static_cast<std::int64_t>(c.faults.size());
  if (unlisted > 0) c.errors.push_back(fmt::format("{} more lines cannot be read", unlisted));
  if (c.rows == 0) c.errors.push_back("holds no rows");
  if (c.duplicate_count > 0) {
    c.warnings.push_back(fmt::format("{} rows occur again: lines {}", c.duplicate_count,
                                     pairs_text(c.duplicates, c.duplicate_count)));
  }
  if (c.contradiction_count > 0) {
    c.warnings.push_back(fmt::format(
        "{} rows have the question and choices of another row but another answer: lines {}",
        c.contradiction_count, pairs_text(c.contradictions, c.contradiction_count)));
  }
  // The only choice of a cloze question is its answer.
  const bool cloze = c.choices.size() == 1 && c.choices.begin()->first == 1;
  if (c.majority_share > kSuspectShare && c.rows >= kEnoughRows && !cloze) {
    c.warnings.push_back(fmt::format(
        "{:.1f} % of the rows have the same answer: a model that always gives it scores that much",
        100 * c.majority_share));
  }
}

void judge_size(FileCheck& c) {
  if (c.record == "differs") {
    c.errors.push_back(
        "its SHA-256 is not the one in sources.json: the file was changed after it was fetched; "
        "qx data fetch --force replaces it");
  }
  if (!c.published || c.rows == *c.published || c.rows == 0) return;
  c.warnings.push_back(
      c.rows < *c.published
          ? fmt::format("{} of the {} rows published: scores of a part of the set", c.rows,
                        *c.published)
          : fmt::format("{} rows, more than the {} published", c.rows, *c.published));
}

std::optional<std::int64_t> known(std::int64_t rows) {
  return rows == 0 ? std::nullopt : std::optional(rows);
}

void check_record(const fs::path& folder, FileCheck& check) {
  check.record = "none";
  try {
    const auto records = load_source_records(folder);
    const auto found = records.find(check.name);
    if (found == records.end()) return;
    check.record = found->second.sha256 == check.sha256 ? "same" : "differs";
    check.revision = found->second.revision;
  } catch (const Error& e) {
    check.warnings.push_back(e.what());
  }
}

// The rows of a file that is there, with all findings but those about sizes.
std::vector<DataRow> check_text(const Task& task, std::string_view text, std::size_t limit,
                                FileCheck& check) {
  check.present = true;
  check.bytes = static_cast<std::int64_t>(text.size());
  check.sha256 = sha256_hex(text);
  DataRows data = read_data_rows(task, text, check.path, limit);
  check.rows = data.lines;
  check.fault_count = data.fault_count;
  check.faults = std::move(data.faults);
  compare_rows(data.rows, limit, check);
  count_answers(data.rows, check);
  judge_rows(check);
  return std::move(data.rows);
}

std::vector<DataRow> check_file(const Task& task, const fs::path& folder, std::size_t limit,
                                FileCheck& check) {
  check.path = (folder / check.name).string();
  if (!fs::exists(check.path)) return {};
  const MappedFile map(check.path);
  std::vector<DataRow> rows = check_text(task, map.text(), limit, check);
  check_record(folder, check);
  judge_size(check);
  return rows;
}

void compare_with_train(const std::vector<DataRow>& evaluation, const std::vector<DataRow>& train,
                        std::size_t limit, FileCheck& check) {
  std::unordered_map<std::string, std::int64_t> lines;
  for (const DataRow& row : evaluation) lines.emplace(choices_key(row.item), row.line);
  for (const DataRow& row : train) {
    const auto found = lines.find(choices_key(row.item));
    if (found == lines.end()) continue;
    add_pair(check.overlap, check.overlap_count, {row.line, found->second}, limit);
  }
  if (check.overlap_count == 0) return;
  check.warnings.push_back(fmt::format(
      "{} rows are evaluation items too (line here and there: {}): as examples they give answers "
      "away",
      check.overlap_count, pairs_text(check.overlap, check.overlap_count)));
}

}  // namespace

DataRows read_data_rows(const Task& task, std::string_view text, std::string_view file,
                        std::size_t max_faults) {
  const auto is_blank = [](std::string_view line) {
    return line.find_first_not_of(" \t\r") == std::string_view::npos;
  };
  DataRows data;
  const std::size_t last = text.find_last_not_of(" \t\r\n");
  text = text.substr(0, last == std::string_view::npos ? 0 : last + 1);
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++data.lines;
    const std::string place = fmt::format("{}:{}", file, data.lines);
    try {
      if (is_blank(line)) fail(place, "got an empty line, expected a row");
      const Json json = parse_json(line, place);
      data.rows.push_back({data.lines, document_hash(json), task.read_item(json, place)});
    } catch (const Error& e) {
      ++data.fault_count;
      if (data.faults.size() >= max_faults) continue;
      // The place is the line that the caller names anyway.
      std::string text_of_fault = e.what();
      const std::string prefix = "[" + place + "] ";
      if (text_of_fault.starts_with(prefix)) text_of_fault.erase(0, prefix.size());
      data.faults.push_back({data.lines, printable(text_of_fault, 300)});
    }
  }
  return data;
}

TaskCheck check_task_data(const Task& task, const CheckOptions& options, bool required) {
  TaskCheck check;
  check.task = task.name;
  const DataPlace place = find_task_data(task, options.folder);
  FileCheck& evaluation = check.evaluation;
  FileCheck& train = check.train;
  evaluation.name = task.name + ".jsonl";
  train.name = task.name + ".train.jsonl";
  train.train = true;
  evaluation.origin = train.origin = place.origin;
  evaluation.published = known(task.data.rows);
  train.published = known(task.few_shot.rows);
  evaluation.path = evaluation.name;
  if (place.file.empty() && place.origin.empty()) {
    if (required) evaluation.errors.push_back("is nowhere; qx data fetch gets it");
    return check;
  }
  if (place.file.empty()) {
    check_text(task, shipped_task_text(task.name), options.examples, evaluation);
    evaluation.record = "none";
    evaluation.warnings.push_back(
        "the small set that ships with the program, not the real one; qx data fetch gets that");
    return check;
  }
  const std::vector<DataRow> items =
      check_file(task, place.file.parent_path(), options.examples, evaluation);
  if (!evaluation.present && required) {
    evaluation.errors.push_back("is missing; qx data fetch gets it");
  }
  const std::vector<DataRow> pool =
      check_file(task, place.file.parent_path(), options.examples, train);
  compare_with_train(items, pool, options.examples, train);
  return check;
}

}  // namespace qx
