// SPDX-License-Identifier: Apache-2.0
#include "audit/audit.h"

#include <algorithm>

#include "audit/prose.h"
#include "base/error.h"

namespace qx {
namespace {

constexpr std::size_t kMaxBytes = 16u << 20;

// Control characters must not reach a terminal.
std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F) c = ' ';
  }
  return out;
}

}  // namespace

Audit audit_text(std::string_view text, const std::string& file) {
  if (text.size() > kMaxBytes) {
    fail(file, "got {} bytes, expected a text of at most {}", text.size(), kMaxBytes);
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (!is_valid_utf8(text)) fail(file, "got bytes that are not UTF-8, expected a text");
  const std::vector<std::string> lines = split_text_lines(printable(text));
  const std::vector<ScoreTable> tables = find_score_tables(lines);
  if (tables.empty()) {
    fail(file, "got no score table, expected rows or columns named after tasks, with scores");
  }
  Audit audit;
  for (const ScoreTable& table : tables) {
    audit.tables.push_back({table, test_table(table)});
    for (Claim& claim : judge_table(table)) audit.claims.push_back(std::move(claim));
  }
  const auto widest = std::max_element(audit.tables.begin(), audit.tables.end(),
                                       [](const AuditedTable& a, const AuditedTable& b) {
                                         return a.table.variants.size() < b.table.variants.size();
                                       });
  for (Claim& claim :
       judge_claims(find_clauses(lines, widest->table, tables), widest->table, widest->tests)) {
    audit.claims.push_back(std::move(claim));
  }
  return audit;
}

}  // namespace qx
