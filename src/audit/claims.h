// Judges the claims of a card by the card's own numbers, with arithmetic only. What it cannot parse it
// lists as not checked. The rules: docs/audit.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "audit/prose.h"
#include "audit/score_tests.h"

namespace qx {

enum class ClaimVerdict { kSupported, kNotSupported, kContradicted, kUndecided, kNotChecked };
std::string claim_verdict_name(ClaimVerdict verdict);  // "supported", "cannot be decided", ..

struct Claim {
  std::string text;
  ClaimVerdict verdict = ClaimVerdict::kNotChecked;
  std::string evidence;  // the arithmetic, or why it was not checked
};

// Claims of the clauses, in their order. Clauses that claim nothing about scores give none.
std::vector<Claim> judge_claims(const std::vector<Clause>& clauses, const ScoreTable& table,
                                const TableTests& tests);

// Printed differences and averages that are not those of the printed scores.
std::vector<Claim> judge_table(const ScoreTable& table);

}  // namespace qx
