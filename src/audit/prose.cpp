// SPDX-License-Identifier: Apache-2.0
#include "audit/prose.h"

#include <algorithm>
#include <cctype>

#include "audit/benchmark.h"
#include "base/parse_double.h"

namespace qx {
namespace {

bool is_alnum(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// How far all names agree, from the front or from the back, up to a border between their parts.
std::size_t shared_length(const std::vector<std::string>& names, bool front) {
  const auto at = [front](const std::string& name, std::size_t i) {
    return front ? name[i] : name[name.size() - 1 - i];
  };
  std::size_t length = 0, border = 0;
  for (;; ++length) {
    for (const std::string& name : names) {
      if (length >= name.size() || at(name, length) != at(names[0], length)) return border;
    }
    if (!is_alnum(at(names[0], length)) && at(names[0], length) != '.') border = length + 1;
  }
}

// Of "Qwen3-8B-q4-hi-mlx" beside "Qwen3-8B-q6-hi-mlx", a text says "q4-hi-mlx", "q4-hi" or "q4".
std::vector<std::string> short_names(const std::vector<std::string>& names, std::size_t which) {
  std::vector<std::string> found;
  if (names.size() < 2) return found;
  const std::string& name = names[which];
  const std::size_t before = shared_length(names, true), after = shared_length(names, false);
  for (std::size_t end = name.size(); end > before && end + after >= name.size(); --end) {
    const bool border = end == name.size() || !is_alnum(name[end]);
    if (border && end - before >= 2) found.push_back(name.substr(before, end - before));
  }
  return found;
}

struct VariantName {
  std::string text;
  std::size_t variant = 0;
};

// Longest first, so that "q4-hi" is not read as "q4".
std::vector<VariantName> variant_names(const ScoreTable& table) {
  std::vector<VariantName> names;
  std::vector<std::string> full;
  for (const std::string& variant : table.variants) full.push_back(lower(variant));
  for (std::size_t v = 0; v < full.size(); ++v) {
    names.push_back({full[v], v});
    for (std::string& name : short_names(full, v)) names.push_back({std::move(name), v});
  }
  std::stable_sort(names.begin(), names.end(), [](const VariantName& a, const VariantName& b) {
    return a.text.size() > b.text.size();
  });
  return names;
}

// The variant whose name stands at `at`, not as a part of a longer name.
const VariantName* name_at(std::string_view text, std::size_t at,
                           const std::vector<VariantName>& names) {
  const auto inside = [](char c) { return is_alnum(c) || c == '_'; };
  if (at > 0 &&
      (inside(text[at - 1]) || (text[at - 1] == '-' && at > 1 && is_alnum(text[at - 2])))) {
    return nullptr;
  }
  for (const VariantName& name : names) {
    if (name.text.empty() || text.substr(at, name.text.size()) != name.text) continue;
    const std::size_t end = at + name.text.size();
    const char next = end < text.size() ? text[end] : ' ';
    const char after = end + 1 < text.size() ? text[end + 1] : ' ';
    if (inside(next) || (next == '-' && is_alnum(after) && !text.substr(end).starts_with("-mlx"))) {
      continue;
    }
    return &name;
  }
  return nullptr;
}

// A number that stands alone: no "4-bit", "8b", "v0.26.4".
std::size_t number_length(std::string_view text, std::size_t at) {
  std::size_t end = at;
  if (text[end] == '+' || text[end] == '-') ++end;
  const std::size_t digits = end;
  int points = 0;
  while (end < text.size() && (std::isdigit(static_cast<unsigned char>(text[end])) != 0 ||
                               (text[end] == '.' && end + 1 < text.size() &&
                                std::isdigit(static_cast<unsigned char>(text[end + 1])) != 0))) {
    points += text[end] == '.' ? 1 : 0;
    ++end;
  }
  if (end == digits || points > 1 || end - digits > 12) return 0;
  if (at > 0 && (is_alnum(text[at - 1]) || text[at - 1] == '.' || text[at - 1] == '_')) return 0;
  if (end < text.size() && (is_alnum(text[end]) || text[end] == '_')) return 0;
  if (end + 1 < text.size() && text[end] == '-' && is_alnum(text[end + 1])) return 0;
  return end - at;
}

Word make_number(std::string_view text, bool percent) {
  Word word;
  word.kind = Word::Kind::kNumber;
  word.text = text;
  word.percent = percent;
  word.has_sign = text.front() == '+' || text.front() == '-';
  const std::string_view digits = word.has_sign ? text.substr(1) : text;
  word.number = parse_double(digits).value_or(0);
  if (text.front() == '-') word.number = -word.number;
  const std::size_t point = digits.find('.');
  if (point != std::string_view::npos) word.decimals = static_cast<int>(digits.size() - point - 1);
  return word;
}

std::vector<Word> words_of(std::string_view clause, const std::vector<VariantName>& names) {
  const std::string text = lower(clause);
  std::vector<Word> words;
  for (std::size_t i = 0; i < text.size();) {
    if (const VariantName* name = name_at(text, i, names)) {
      Word word;
      word.kind = Word::Kind::kVariant;
      word.text = name->text;
      word.variant = name->variant;
      words.push_back(word);
      i += name->text.size();
      continue;
    }
    const bool may_begin =
        std::isdigit(static_cast<unsigned char>(text[i])) != 0 || text[i] == '+' || text[i] == '-';
    const std::size_t length = may_begin ? number_length(text, i) : 0;
    if (length > 0) {
      std::size_t end = i + length;
      while (end < text.size() && text[end] == ' ') ++end;
      const bool percent = end < text.size() && text[end] == '%';
      words.push_back(make_number(std::string_view(text).substr(i, length), percent));
      i = percent ? end + 1 : i + length;
      continue;
    }
    if (!is_alnum(text[i])) {
      ++i;
      continue;
    }
    Word word;
    while (i < text.size() && (is_alnum(text[i]) || text[i] == '\'' || text[i] == '_')) {
      if (is_alnum(text[i])) word.text += text[i];
      ++i;
    }
    words.push_back(std::move(word));
  }
  return words;
}

std::vector<std::size_t> mentioned_rows(const std::vector<Word>& words, const ScoreTable& table) {
  std::vector<std::size_t> rows;
  for (std::size_t i = 0; i < words.size();) {
    std::size_t used = 0;
    for (std::size_t count = std::min<std::size_t>(4, words.size() - i); count > 0; --count) {
      std::string joined;
      for (std::size_t k = 0; k < count; ++k) {
        joined += words[i + k].kind == Word::Kind::kVariant ? "?" : words[i + k].text;
      }
      const Benchmark* benchmark = find_mentioned_benchmark(joined);
      if (benchmark == nullptr) continue;
      for (std::size_t r = 0; r < table.rows.size(); ++r) {
        if (table.rows[r].benchmark == benchmark &&
            std::find(rows.begin(), rows.end(), r) == rows.end()) {
          rows.push_back(r);
        }
      }
      used = count;
      break;
    }
    i += std::max<std::size_t>(used, 1);
  }
  return rows;
}

Clause make_clause(std::string_view text, const ScoreTable& table,
                   const std::vector<VariantName>& names) {
  Clause clause;
  clause.text = text;
  clause.words = words_of(text, names);
  clause.rows = mentioned_rows(clause.words, table);
  for (const Word& word : clause.words) {
    if (word.kind == Word::Kind::kVariant &&
        std::find(clause.variants.begin(), clause.variants.end(), word.variant) ==
            clause.variants.end()) {
      clause.variants.push_back(word.variant);
    }
  }
  return clause;
}

std::string clause_text(std::string_view text) {
  constexpr std::string_view kEdge = " \t\r*#>|-";
  const std::size_t begin = text.find_first_not_of(kEdge);
  if (begin == std::string_view::npos) return "";
  const std::size_t end = text.find_last_not_of(" \t\r*#|");
  // A sign in front of a number stays.
  const bool sign = begin > 0 && text[begin - 1] == '-' && text[begin] >= '0' && text[begin] <= '9';
  return std::string(text.substr(begin - (sign ? 1 : 0), end - begin + 1 + (sign ? 1 : 0)));
}

std::string without_emphasis(const std::string& line) {
  std::string out;
  for (const char c : line) {
    if (c != '*' && c != '`') out += c;
  }
  return out;
}

// Sentences, and clauses that may have a subject of their own.
std::vector<std::string> split_clauses(const std::string& text) {
  constexpr std::string_view kBorders[] = {
      ". ",    "! ",      "? ",        "; ",         " \xE2\x80\x94 ",
      " but ", " while ", " whereas ", " although ", ", yet "};
  std::vector<std::string> clauses;
  std::string current;
  for (std::size_t i = 0; i < text.size();) {
    const auto border = std::find_if(
        std::begin(kBorders), std::end(kBorders),
        [&](std::string_view b) { return std::string_view(text).substr(i, b.size()) == b; });
    if (border == std::end(kBorders)) {
      current += text[i++];
      continue;
    }
    clauses.push_back(clause_text(current));
    current.clear();
    i += border->size();
  }
  clauses.push_back(clause_text(current));
  std::erase_if(clauses, [](const std::string& c) { return c.empty(); });
  return clauses;
}

// Which lines are prose: no score table, no code, no front matter.
std::vector<bool> prose_lines(const std::vector<std::string>& lines,
                              const std::vector<ScoreTable>& tables) {
  std::vector<bool> prose(lines.size(), true);
  for (const ScoreTable& table : tables) {
    for (std::size_t i = table.first_line; i <= table.last_line; ++i) prose[i] = false;
  }
  bool code = false;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const bool fence = lines[i].find("```") != std::string::npos;
    if (code || fence) prose[i] = false;
    if (fence) code = !code;
  }
  if (!lines.empty() && lines[0] == "---") {
    const auto end = std::find(lines.begin() + 1, lines.end(), "---");
    if (end != lines.end())
      std::fill(prose.begin(), prose.begin() + (end - lines.begin()) + 1, false);
  }
  return prose;
}

bool names_a_paired_test(const Clause& clause) {
  return std::any_of(clause.words.begin(), clause.words.end(), [](const Word& word) {
    return word.text == "paired" || word.text == "mcnemar" || word.text == "mcnemars";
  });
}

}  // namespace

std::vector<Clause> find_clauses(const std::vector<std::string>& lines, const ScoreTable& table,
                                 const std::vector<ScoreTable>& tables) {
  const std::vector<VariantName> names = variant_names(table);
  const std::vector<bool> prose = prose_lines(lines, tables);
  std::vector<Clause> all;
  Clause heading;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string line = clause_text(without_emphasis(lines[i]));
    if (!prose[i] || line.empty()) continue;
    const bool is_row = table_cells(lines[i]).size() >= 3;
    const bool is_rule = std::none_of(line.begin(), line.end(), is_alnum);  // of a table
    const bool is_heading = !is_rule && (lines[i].starts_with('#') || line.back() == ':');
    Clause whole = make_clause(line, table, names);
    const Clause above = is_row ? whole : heading;
    std::vector<std::string> parts;
    if (is_row) {
      for (const std::string& cell : table_cells(lines[i])) {
        for (std::string& part : split_clauses(cell)) parts.push_back(std::move(part));
      }
    } else {
      parts = split_clauses(line);
    }
    std::optional<std::size_t> subject;
    if (above.variants.size() == 1) subject = above.variants.front();
    std::vector<std::size_t> rows = above.rows;
    const bool paired = names_a_paired_test(whole) || names_a_paired_test(heading);
    for (const std::string& part : parts) {
      Clause clause = make_clause(part, table, names);
      clause.context_rows = rows;
      clause.context_variant = subject;
      clause.paired = paired;
      if (!clause.variants.empty()) subject = clause.variants.front();
      if (!clause.rows.empty()) rows = clause.rows;
      all.push_back(std::move(clause));
    }
    if (is_heading) heading = std::move(whole);
  }
  return all;
}

}  // namespace qx
