// Reads a model card, an issue or any text with a score table, and says which of its claims its own
// numbers support. docs/audit.md has the rules.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "audit/claims.h"
#include "audit/score_table.h"
#include "audit/score_tests.h"
#include "io/json.h"

namespace qx {

struct AuditedTable {
  ScoreTable table;
  TableTests tests;
};

struct Audit {
  std::vector<AuditedTable> tables;
  std::vector<Claim> claims;  // of the prose, judged by the first table with the most variants
};

// file: for messages. Fails: Error when the text holds no score table, is not UTF-8 text, or is larger than
// 16 MB.
Audit audit_text(std::string_view text, const std::string& file);

Json audit_json(const Audit& audit);

// For a terminal, at most `width` columns where words allow it.
std::string audit_report(const Audit& audit, std::size_t width);

}  // namespace qx
