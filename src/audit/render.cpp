// An audit as JSON and for a terminal.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "audit/audit.h"

namespace qx {
namespace {

Json table_json(const ScoreTable& table) {
  Json json;
  json["variants"] = table.variants;
  json["tasks"] = Json::object();
  if (table.left_out > 0) json["left_out"] = table.left_out;
  for (const TaskRow& row : table.rows) {
    if (!row.counts) continue;  // acc beside acc_norm
    Json& scores = json["tasks"][row.task];
    scores = Json::object();
    for (std::size_t v = 0; v < table.variants.size(); ++v) {
      if (row.scores[v]) scores[table.variants[v]] = row.scores[v]->value;
    }
  }
  return json;
}

void add_tests(Json& list, const AuditedTable& audited) {
  for (const ScoreTest& test : audited.tests.tests) {
    Json json;
    json["task"] = audited.table.rows[test.row].task;
    json["a"] = audited.table.variants[test.a];
    json["b"] = audited.table.variants[test.b];
    json["n"] = test.n;
    json["diff"] = test.diff;
    json["relative"] = test.relative ? Json(*test.relative) : Json();
    json["items"] = std::llround(test.diff * static_cast<double>(test.n));
    json["z"] = test.z;
    json["p"] = test.p;
    json["p_holm"] = test.p_holm;
    list.push_back(std::move(json));
  }
}

std::string p_cell(double p) {
  return p < 0.001 ? "<0.001" : p < 0.1 ? fmt::format("{:.3f}", p) : fmt::format("{:.2f}", p);
}

// Columns as wide as their widest cell; the first to the left, the others to the right.
std::string aligned(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> width;
  for (const auto& row : rows) {
    width.resize(std::max(width.size(), row.size()));
    for (std::size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
  }
  std::string out;
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      out += c == 0 ? fmt::format("  {:<{}}", row[c], width[c])
                    : fmt::format("  {:>{}}", row[c], width[c]);
    }
    out += '\n';
  }
  return out;
}

std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
  std::string out;
  std::size_t column = indent;
  bool first = true;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    if (!first && column + 1 + word.size() > width) {
      out += '\n' + std::string(indent, ' ');
      column = indent;
      first = true;
    }
    if (!first) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    first = false;
  }
  return out + '\n';
}

std::string tests_text(const AuditedTable& audited) {
  const ScoreTable& table = audited.table;
  std::string out;
  std::size_t done = 0;
  while (done < audited.tests.tests.size()) {
    const std::size_t a = audited.tests.tests[done].a, b = audited.tests.tests[done].b;
    out += fmt::format("{} against {} (two-proportion test; Holm over these tasks)\n",
                       table.variants[a], table.variants[b]);
    std::vector<std::vector<std::string>> rows = {
        {"task", "a", "b", "diff", "relative", "items", "z", "p", "Holm"}};
    for (; done < audited.tests.tests.size(); ++done) {
      const ScoreTest& t = audited.tests.tests[done];
      if (t.a != a || t.b != b) break;
      const TaskRow& row = table.rows[t.row];
      rows.push_back({row.task, fmt::format("{:.3f}", row.scores[a]->value),
                      fmt::format("{:.3f}", row.scores[b]->value), fmt::format("{:+.3f}", t.diff),
                      t.relative ? fmt::format("{:+.1f} %", *t.relative * 100) : "",
                      fmt::format("{:+}", std::llround(t.diff * static_cast<double>(t.n))),
                      fmt::format("{:+.2f}", t.z), p_cell(t.p), p_cell(t.p_holm)});
    }
    out += aligned(rows);
    if (const auto average = audited.tests.find_average(a, b)) {
      out += fmt::format("  mean of the {} tasks with information: {:+.4f}, z {:+.2f}, p {}\n",
                         average->tasks, average->diff, average->z, p_cell(average->p));
    }
    out += '\n';
  }
  return out;
}

std::string flags_text(const AuditedTable& audited, std::size_t width) {
  std::string out;
  for (const ScoreFlag& flag : audited.tests.flags) {
    const std::string head = fmt::format("  {} {}: ", audited.table.rows[flag.row].task,
                                         audited.table.variants[flag.variant]);
    out += wrapped(head + flag.text, 4, width).insert(0, "  ! ");
  }
  return out;
}

}  // namespace

Json audit_json(const Audit& audit) {
  Json json;
  for (const char* key : {"tables", "tests", "flags", "claims"}) json[key] = Json::array();
  for (const AuditedTable& audited : audit.tables) {
    json["tables"].push_back(table_json(audited.table));
    add_tests(json["tests"], audited);
    for (const ScoreFlag& flag : audited.tests.flags) {
      Json entry;
      entry["task"] = audited.table.rows[flag.row].task;
      entry["variant"] = audited.table.variants[flag.variant];
      entry["kind"] = score_flag_name(flag.kind);
      entry["text"] = flag.text;
      json["flags"].push_back(std::move(entry));
    }
  }
  for (const Claim& claim : audit.claims) {
    Json entry;
    entry["text"] = claim.text;
    entry["verdict"] = claim_verdict_name(claim.verdict);
    entry["evidence"] = claim.evidence;
    json["claims"].push_back(std::move(entry));
  }
  return json;
}

std::string audit_report(const Audit& audit, std::size_t width) {
  std::string out;
  for (const AuditedTable& audited : audit.tables) {
    if (audited.table.left_out > 0) {
      out += fmt::format("{} more columns of scores are left out: {} variants are compared\n\n",
                         audited.table.left_out, audited.table.variants.size());
    }
    if (audited.tests.tests.empty()) {
      out += fmt::format("{}: one set of scores, nothing to compare\n\n",
                         fmt::join(audited.table.variants, ", "));
    }
    out += tests_text(audited);
    const std::string flags = flags_text(audited, width);
    if (!flags.empty()) out += "Scores to distrust\n" + flags + '\n';
  }
  constexpr ClaimVerdict kOrder[] = {ClaimVerdict::kContradicted, ClaimVerdict::kNotSupported,
                                     ClaimVerdict::kUndecided, ClaimVerdict::kSupported,
                                     ClaimVerdict::kNotChecked};
  for (const ClaimVerdict verdict : kOrder) {
    std::string list;
    for (const Claim& claim : audit.claims) {
      if (claim.verdict != verdict) continue;
      list += "  - " + wrapped(claim.text, 4, width);
      if (!claim.evidence.empty()) list += "      " + wrapped(claim.evidence, 6, width);
    }
    std::string title = claim_verdict_name(verdict);
    title.front() = static_cast<char>(title.front() - 'a' + 'A');
    if (!list.empty()) out += "Claims: " + title + '\n' + list + '\n';
  }
  if (audit.claims.empty()) out += "No claims about scores were found in the text.\n";
  return out;
}

}  // namespace qx
