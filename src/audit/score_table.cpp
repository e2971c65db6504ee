// SPDX-License-Identifier: Apache-2.0
#include "audit/score_table.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>
#include <span>

#include "base/parse_double.h"

namespace qx {
namespace {

using Cells = std::vector<std::string>;

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// **0.396**, `name` and [name](link) as a reader sees them.
std::string without_marks(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c != '*' && c != '`' && c != '~') out += c;
  }
  const std::size_t close = out.find("](");
  if (!out.empty() && out.front() == '[' && close != std::string::npos) {
    out = out.substr(1, close - 1);
  }
  const std::string_view inner = trimmed(out);
  return std::string(inner);
}

std::string with_all_replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (;;) {
    const std::size_t at = text.find(from);
    out += text.substr(0, at);
    if (at == std::string_view::npos) return out;
    out += to;
    text.remove_prefix(at + from.size());
  }
}

// <!-- --> is not for readers. Line feeds in it stay.
std::string without_comments(std::string_view text) {
  std::string out;
  bool comment = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!comment && text.substr(i, 4) == "<!--") comment = true;
    if (!comment || text[i] == '\n') out += text[i];
    if (comment && text.substr(i, 3) == "-->") {
      comment = false;
      i += 2;
    }
  }
  return out;
}

// <td>, <th> become '|', other tags go.
std::string without_html(std::string line) {
  for (const char* cell : {"</td>", "</th>", "</TD>", "</TH>"}) {
    line = with_all_replaced(line, cell, "|");
  }
  const std::size_t last = line.rfind('>');
  std::string out;
  bool in_tag = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const bool opens =
        line[i] == '<' && i + 1 < line.size() &&
        (std::isalpha(static_cast<unsigned char>(line[i + 1])) != 0 || line[i + 1] == '/');
    if (opens && last != std::string::npos && last > i) in_tag = true;
    if (!in_tag) out += line[i];
    if (line[i] == '>') in_tag = false;
  }
  return out;
}

bool is_separator(std::string_view line) {
  const std::string_view inner = trimmed(line);
  return inner.size() >= 2 && inner.find_first_not_of("-:|=+ \t") == std::string_view::npos;
}

Cells tokens_of(std::string_view line) {
  Cells tokens;
  std::string token;
  for (const char c : line) {
    if (c == ' ' || c == '\t' || c == ',' || c == '|' || c == '\r') {
      if (!token.empty()) tokens.push_back(without_marks(token));
      token.clear();
    } else {
      token += c;
    }
  }
  if (!token.empty()) tokens.push_back(without_marks(token));
  return tokens;
}

// A number as it stands: 39.6, +0.006, 0.396 ± 0.014, 39.6% (+0.6).
struct Number {
  double value = 0;
  int decimals = 0;
  bool percent = false;
};

std::optional<Number> parse_number(std::string_view cell) {
  std::string_view text = trimmed(cell);
  constexpr std::string_view kMinus = "\xE2\x88\x92";  // U+2212
  bool negative = false;
  if (text.starts_with(kMinus)) {
    negative = true;
    text.remove_prefix(kMinus.size());
  } else if (!text.empty() && (text.front() == '-' || text.front() == '+')) {
    negative = text.front() == '-';
    text.remove_prefix(1);
  }
  if (text.empty() || (text.front() != '.' && (text.front() < '0' || text.front() > '9'))) {
    return std::nullopt;
  }
  const std::string_view digits =
      text.substr(0, decimal_length(text.substr(0, text.find_first_of("eE"))));
  const std::optional<double> value = parse_double(digits);
  if (!value) return std::nullopt;
  Number number{*value};
  const std::size_t point = digits.find('.');
  if (point != std::string_view::npos)
    number.decimals = static_cast<int>(digits.size() - point - 1);
  std::string_view rest = trimmed(text.substr(digits.size()));
  if (rest.starts_with('%')) {
    number.percent = true;
    rest = trimmed(rest.substr(1));
  }
  const bool ends_here = rest.empty() || rest.front() == '(' || rest.starts_with("\xC2\xB1") ||
                         rest.starts_with("+/-") || rest.front() == '+';
  if (!ends_here || number.decimals > 15 || number.value > 1e6) return std::nullopt;
  if (negative) number.value = -number.value;
  return number;
}

PrintedScore to_score(const Number& number, bool percent_table) {
  const bool percent =
      number.percent || (percent_table && !(std::fabs(number.value) <= 1 && number.decimals >= 3));
  const double unit = percent ? 0.01 : 1.0;
  return {number.value * unit, 0.5 * std::pow(10.0, -number.decimals) * unit};
}

bool is_average_label(std::string_view label) {
  const std::string key = letters_and_digits(label);
  return key == "average" || key == "avg" || key == "mean" || key == "overall" ||
         key == "macroaverage" || key == "averagescore" || key == "averageaccuracy";
}

enum class Column { kOther, kVariant, kDifference, kItems, kMetric };

Column column_kind(std::string_view header) {
  const std::string key = letters_and_digits(header);
  const auto has = [&](std::string_view part) { return key.find(part) != std::string::npos; };
  if (header.find("\xCE\x94") != std::string_view::npos || key.starts_with("diff") ||
      key.starts_with("delta") || key == "change" || key == "gain" || key == "improvement") {
    return Column::kDifference;
  }
  if (key == "n" || key == "items" || key == "samples" || key == "questions" || key == "size" ||
      key == "count") {
    return Column::kItems;
  }
  if (key == "metric") return Column::kMetric;
  if (key.empty() || has("stderr") || key == "std" || key == "se" || key == "version" ||
      key == "filter" || key == "nshot" || key == "shots" || key == "shot" || key == "relative" ||
      key == "chance" || key == "random" || key == "task" || key == "benchmark" || key == "rank" ||
      key == "ranking" || key == "place") {
    return Column::kOther;
  }
  return Column::kVariant;
}

// "q6 - q4" beside columns q6 and q4.
bool is_difference_of(std::string_view header, const std::set<std::string>& keys) {
  constexpr std::size_t kLongest = 200;
  if (header.size() > kLongest) return false;
  for (const std::string_view sign : {"-", "\xE2\x88\x92", "\xE2\x80\x93", " vs "}) {
    for (std::size_t at = header.find(sign); at != std::string_view::npos;
         at = header.find(sign, at + 1)) {
      const std::string left = letters_and_digits(header.substr(0, at));
      const std::string right = letters_and_digits(header.substr(at + sign.size()));
      if (!left.empty() && !right.empty() && keys.contains(left) && keys.contains(right))
        return true;
    }
  }
  return false;
}

// What no benchmark is called and cards list beside scores.
bool is_other_quantity(std::string_view label) {
  constexpr std::string_view kNames[] = {"perplexity", "ppl",     "size",       "gb",     "gib",
                                         "mb",         "mib",     "bits",       "bpw",    "speed",
                                         "tps",        "latency", "parameters", "params", "kld"};
  std::string word, before;
  for (std::size_t i = 0; i <= label.size(); ++i) {
    const std::string letter = i < label.size() ? letters_and_digits(label.substr(i, 1)) : "";
    if (!letter.empty()) {
      word += letter;
      continue;
    }
    if (word.empty()) continue;
    const bool rate =
        (before == "tokens" || before == "token" || before == "tok" || before == "t") &&
        (word == "s" || word == "sec" || word == "second");
    if (rate || std::find(std::begin(kNames), std::end(kNames), word) != std::end(kNames))
      return true;
    before = std::move(word);
    word.clear();
  }
  return false;
}

// A table before it is known which columns hold scores.
struct RawTable {
  std::size_t first_line = 0, last_line = 0;
  Cells header;  // without the label column; may be empty
  struct Row {
    std::string label;
    Cells cells;
  };
  std::vector<Row> rows;
};

std::int64_t count_numbers(std::span<const std::string> cells) {
  return std::count_if(cells.begin(), cells.end(),
                       [](const std::string& c) { return parse_number(c).has_value(); });
}

// A line whose first cell (or first words) is a label and which holds at least one number.
std::optional<RawTable::Row> parse_row(std::string_view line) {
  Cells cells = table_cells(line);
  if (cells.size() >= 2 && count_numbers(std::span(cells).subspan(1)) > 0 &&
      !parse_number(cells[0])) {
    return RawTable::Row{cells[0], Cells(cells.begin() + 1, cells.end())};
  }
  const Cells tokens = tokens_of(line);
  std::size_t first = 0;
  while (first < tokens.size() && !parse_number(tokens[first])) ++first;
  if (first == 0 || first == tokens.size() || first > 4) return std::nullopt;
  if (count_numbers(std::span(tokens).subspan(first)) !=
      static_cast<std::int64_t>(tokens.size() - first)) {
    return std::nullopt;
  }
  std::string label = tokens[0];
  for (std::size_t i = 1; i < first; ++i) label += ' ' + tokens[i];
  return RawTable::Row{std::move(label),
                       Cells(tokens.begin() + static_cast<std::ptrdiff_t>(first), tokens.end())};
}

// The header that fits rows of `columns` cells behind their label.
Cells fitting_header(std::string_view line, std::size_t columns) {
  for (Cells cells : {table_cells(line), tokens_of(line)}) {
    if (count_numbers(cells) > 0) continue;
    if (cells.size() == columns + 1) cells.erase(cells.begin());
    if (cells.size() == columns) return cells;
  }
  return {};
}

// Rows are tasks, from `line` on.
std::optional<RawTable> read_task_rows(const std::vector<std::string>& lines, std::size_t line) {
  const std::optional<RawTable::Row> first = parse_row(lines[line]);
  if (!first || find_benchmark(first->label) == nullptr) return std::nullopt;
  RawTable table{line, line, {}, {}};
  for (std::size_t above = line; above > 0 && line - above < 2;) {
    --above;
    if (is_separator(lines[above])) continue;
    table.header = fitting_header(lines[above], first->cells.size());
    if (!table.header.empty()) table.first_line = above;
    break;
  }
  for (std::size_t i = line; i < lines.size(); ++i) {
    if (is_separator(lines[i])) continue;
    std::optional<RawTable::Row> row = parse_row(lines[i]);
    if (!row || row->cells.size() != first->cells.size()) break;
    table.rows.push_back(std::move(*row));
    table.last_line = i;
  }
  return table;
}

std::size_t count_benchmarks(const Cells& cells) {
  return static_cast<std::size_t>(
      std::count_if(cells.begin(), cells.end(),
                    [](const std::string& c) { return find_benchmark(c) != nullptr; }));
}

// Columns are tasks: turned so that rows are tasks.
std::optional<RawTable> read_task_columns(const std::vector<std::string>& lines, std::size_t line) {
  Cells header = table_cells(lines[line]), tokens = tokens_of(lines[line]);
  const bool all_tokens = count_benchmarks(tokens) + 1 >= tokens.size();
  if (all_tokens && count_benchmarks(tokens) > count_benchmarks(header)) header = std::move(tokens);
  if (count_benchmarks(header) < 2 || count_benchmarks(header) * 2 <= header.size()) {
    return std::nullopt;
  }
  if (find_benchmark(header[0]) == nullptr) header.erase(header.begin());
  RawTable table{line, line, {}, {}};
  for (const std::string& task : header) table.rows.push_back({task, {}});
  for (std::size_t i = line + 1; i < lines.size(); ++i) {
    if (is_separator(lines[i])) continue;
    const std::optional<RawTable::Row> row = parse_row(lines[i]);
    if (!row) break;
    Cells cells = row->cells;
    if (cells.size() != header.size()) {
      cells.clear();
      for (const std::string& cell : row->cells) {
        for (std::string& token : tokens_of(cell)) cells.push_back(std::move(token));
      }
    }
    if (cells.size() != header.size()) break;
    table.header.push_back(row->label);
    for (std::size_t t = 0; t < cells.size(); ++t) table.rows[t].cells.push_back(cells[t]);
    table.last_line = i;
  }
  if (table.header.empty()) return std::nullopt;
  return table;
}

struct Layout {
  std::vector<std::size_t> variants;
  std::optional<std::size_t> difference, items, metric;
  std::size_t left_out = 0;
  bool percent = false;
};

Column kind_of(const RawTable& raw, const std::set<std::string>& keys, std::size_t column) {
  if (raw.header.empty()) return Column::kVariant;
  const Column kind = column_kind(raw.header[column]);
  const bool difference = kind == Column::kVariant && is_difference_of(raw.header[column], keys);
  return difference ? Column::kDifference : kind;
}

Layout find_layout(const RawTable& raw) {
  Layout layout;
  const std::size_t columns = raw.rows.front().cells.size();
  std::set<std::string> keys;
  for (const std::string& header : raw.header) keys.insert(letters_and_digits(header));
  for (std::size_t c = 0; c < columns; ++c) {
    const Column kind = kind_of(raw, keys, c);
    const auto numbers =
        std::count_if(raw.rows.begin(), raw.rows.end(),
                      [c](const RawTable::Row& r) { return parse_number(r.cells[c]).has_value(); });
    const bool filled = 2 * numbers >= static_cast<std::ptrdiff_t>(raw.rows.size()) && numbers > 0;
    if (kind == Column::kMetric) layout.metric = c;
    if (!filled) continue;
    if (kind == Column::kVariant) layout.variants.push_back(c);
    if (kind == Column::kDifference) layout.difference = c;
    if (kind == Column::kItems) layout.items = c;
  }
  if (layout.variants.size() > kMaxVariants) {
    layout.left_out = layout.variants.size() - kMaxVariants;
    layout.variants.resize(kMaxVariants);
  }
  for (const RawTable::Row& row : raw.rows) {
    if (find_benchmark(row.label) == nullptr) continue;  // perplexities, sizes, ..
    for (const std::size_t c : layout.variants) {
      const std::optional<Number> number = parse_number(row.cells[c]);
      layout.percent = layout.percent || (number && (number->percent || number->value > 1));
    }
  }
  return layout;
}

std::vector<std::optional<PrintedScore>> scores_of(const Cells& cells, const Layout& layout) {
  std::vector<std::optional<PrintedScore>> scores;
  for (const std::size_t c : layout.variants) {
    const std::optional<Number> number = parse_number(cells[c]);
    scores.push_back(number ? std::optional(to_score(*number, layout.percent)) : std::nullopt);
  }
  return scores;
}

TaskRow make_row(const RawTable::Row& raw, const std::string& label, const Layout& layout) {
  TaskRow row;
  row.benchmark = find_benchmark(label);
  row.task = row.benchmark != nullptr ? std::string(row.benchmark->name) : label;
  if (row.benchmark != nullptr) row.items = row.benchmark->items;
  if (layout.items) {
    const std::optional<Number> n = parse_number(raw.cells[*layout.items]);
    if (n && n->value >= 1 && n->value == std::floor(n->value)) {
      row.items = static_cast<std::int64_t>(n->value);
    }
  }
  row.scores = scores_of(raw.cells, layout);
  if (layout.difference) {
    if (const auto number = parse_number(raw.cells[*layout.difference])) {
      row.difference = to_score(*number, layout.percent);
    }
  }
  return row;
}

// Whether a row holds accuracies, as far as its label and figures tell.
bool holds_scores(const TaskRow& row) {
  const auto is_score = [](const auto& s) { return s.has_value(); };
  if (std::none_of(row.scores.begin(), row.scores.end(), is_score)) return false;
  if (row.benchmark != nullptr) return true;
  const auto too_large = [](const auto& s) { return s && s->value > 1; };
  return !is_other_quantity(row.task) &&
         std::none_of(row.scores.begin(), row.scores.end(), too_large);
}

// "arc_easy (acc_norm)" is "arceasy" with the metric taken off.
std::string without_metric(std::string_view label, bool& normalized) {
  std::string key = letters_and_digits(label);
  normalized = false;
  for (const std::string_view metric : {"accnorm", "norm", "acc", "accuracy"}) {
    if (!key.ends_with(metric)) continue;
    key.resize(key.size() - metric.size());
    normalized = metric == "accnorm" || metric == "norm";
    break;
  }
  return key;
}

// acc and acc_norm of one task, a row each: acc_norm counts. labels: of the rows.
void count_tasks_once(std::vector<TaskRow>& rows, const std::vector<std::string>& labels) {
  std::map<std::string, std::size_t> plain, norm;  // row by task
  for (std::size_t r = 0; r < rows.size(); ++r) {
    bool normalized = false;
    const std::string key = without_metric(labels[r], normalized);
    (normalized ? norm : plain).try_emplace(key, r);
  }
  for (const auto& [key, r] : plain) {
    if (norm.contains(key)) rows[r].counts = false;
  }
}

std::optional<ScoreTable> resolve(const RawTable& raw) {
  const Layout layout = find_layout(raw);
  if (layout.variants.empty()) return std::nullopt;
  ScoreTable table;
  table.first_line = raw.first_line;
  table.last_line = raw.last_line;
  table.left_out = layout.left_out;
  for (const std::size_t c : layout.variants) {
    const std::string name = raw.header.empty() ? "" : raw.header[c];
    table.variants.push_back(name.empty() ? "column " + std::to_string(c + 1) : name);
  }
  std::vector<std::string> labels;
  std::string label;  // lm-eval's table leaves it out where it repeats
  for (const RawTable::Row& row : raw.rows) {
    const bool repeats = row.label.empty();
    if (!repeats) label = row.label;
    if (is_average_label(label)) {
      table.average = scores_of(row.cells, layout);
      continue;
    }
    TaskRow made = make_row(row, label, layout);
    if (!holds_scores(made)) continue;
    const bool normalized =
        layout.metric && letters_and_digits(row.cells[*layout.metric]) == "accnorm";
    const bool same_task = !table.rows.empty() && table.rows.back().task == made.task;
    if (layout.metric && same_task) {
      if (normalized)
        table.rows.back() = std::move(made);  // the metric that is compared by default
      continue;
    }
    table.rows.push_back(std::move(made));
    labels.push_back(label);
  }
  count_tasks_once(table.rows, labels);
  const bool known = std::any_of(table.rows.begin(), table.rows.end(),
                                 [](const TaskRow& r) { return r.benchmark != nullptr; });
  if (!known) return std::nullopt;
  return table;
}

}  // namespace

std::vector<std::string> split_text_lines(std::string_view raw) {
  const std::string visible = without_comments(raw);
  std::string_view text = visible;
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string line = without_html(std::string(text.substr(0, end)));
    if (!line.empty() && line.back() == '\r') line.pop_back();
    lines.push_back(std::move(line));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::vector<std::string> table_cells(std::string_view line) {
  Cells cells;
  std::string_view text = trimmed(line);
  if (text.find('|') != std::string_view::npos) {
    if (text.starts_with('|')) text.remove_prefix(1);
    if (text.ends_with('|')) text.remove_suffix(1);
    for (std::size_t begin = 0; begin <= text.size();) {
      const std::size_t end = std::min(text.find('|', begin), text.size());
      cells.push_back(without_marks(text.substr(begin, end - begin)));
      begin = end + 1;
    }
    return cells;
  }
  std::string cell;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && (text[end] == ' ' || text[end] == '\t')) ++end;
    const std::string_view gap = text.substr(i, end - i);
    if (gap.size() >= 2 || gap.find('\t') != std::string_view::npos) {
      cells.push_back(without_marks(cell));
      cell.clear();
      i = end;
    } else {
      cell += text[i++];
    }
  }
  if (!cell.empty()) cells.push_back(without_marks(cell));
  return cells;
}

std::vector<ScoreTable> find_score_tables(const std::vector<std::string>& lines) {
  std::vector<ScoreTable> tables;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::optional<RawTable> raw = read_task_columns(lines, i);
    if (!raw) raw = read_task_rows(lines, i);
    if (!raw) continue;
    std::optional<ScoreTable> table = resolve(*raw);
    if (!table) continue;
    i = table->last_line;
    tables.push_back(std::move(*table));
  }
  return tables;
}

}  // namespace qx
