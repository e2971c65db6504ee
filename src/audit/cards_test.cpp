// Cards in many styles, with planted errors and sound claims. Each says in comments what is expected of
// it: <!-- expect VERDICT: part of the claim -->, <!-- flag TASK VARIANT KIND -->.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "audit/audit.h"
#include "base/error.h"

namespace qx {
namespace {

struct Expected {
  std::vector<std::pair<std::string, std::string>> claims;  // verdict, part of the text
  std::set<std::string> flags;
  std::optional<std::size_t> count;
};

Expected read_expected(const std::string& text) {
  Expected expected;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("<!-- ") || !line.ends_with(" -->")) continue;
    const std::string inner = line.substr(5, line.size() - 9);
    if (inner.starts_with("flag ")) expected.flags.insert(inner.substr(5));
    if (!inner.starts_with("expect ")) continue;
    const std::size_t colon = inner.find(": ");
    const std::string verdict = inner.substr(7, colon - 7), part = inner.substr(colon + 2);
    if (verdict == "count") {
      expected.count = std::stoul(part);
    } else {
      expected.claims.emplace_back(verdict, part);
    }
  }
  return expected;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::filesystem::path> cards() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(QX_CARDS)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

class Card : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(Card, IsJudgedAsExpected) {
  const std::string text = read_text(GetParam());
  const Expected expected = read_expected(text);
  const Audit audit = audit_text(text, GetParam().filename().string());
  for (const auto& [verdict, part] : expected.claims) {
    const auto claim = std::find_if(
        audit.claims.begin(), audit.claims.end(),
        [&part = part](const Claim& c) { return c.text.find(part) != std::string::npos; });
    if (claim == audit.claims.end()) {
      ADD_FAILURE() << "no claim with: " << part;
      continue;
    }
    EXPECT_EQ(claim_verdict_name(claim->verdict), verdict)
        << claim->text << "\n  " << claim->evidence;
  }
  std::set<std::string> flags;
  for (const AuditedTable& audited : audit.tables) {
    for (const ScoreFlag& flag : audited.tests.flags) {
      flags.insert(audited.table.rows[flag.row].task + " " + audited.table.variants[flag.variant] +
                   " " + score_flag_name(flag.kind));
    }
  }
  for (const std::string& flag : expected.flags) EXPECT_TRUE(flags.contains(flag)) << flag;
  const bool no_flags = text.find("<!-- flags: none -->") != std::string::npos;
  EXPECT_TRUE(!no_flags || flags.empty());
  EXPECT_EQ(audit.claims.size(), expected.count.value_or(audit.claims.size()));
  const bool none_contradicted = text.find("<!-- none contradicted -->") != std::string::npos;
  for (const Claim& claim : audit.claims) {
    EXPECT_FALSE(none_contradicted && claim.verdict == ClaimVerdict::kContradicted) << claim.text;
    EXPECT_EQ(claim.evidence.find("nan"), std::string::npos) << claim.evidence;
  }
  EXPECT_FALSE(audit_report(audit, 80).empty());
  EXPECT_TRUE(audit_json(audit).is_object());
}

INSTANTIATE_TEST_SUITE_P(All, Card, testing::ValuesIn(cards()),
                         [](const auto& card) { return card.param.stem().string(); });

TEST(Audit, RefusesTextsWithoutScores) {
  EXPECT_THROW(audit_text("# A card\n\nNothing here.\n", "x"), Error);
  EXPECT_THROW(audit_text("", "x"), Error);
  EXPECT_THROW(audit_text("| arc_easy | \xFF |", "x"), Error);
}

TEST(Audit, WideTablesAreCutAndSaidSo) {
  std::string header = "| t ", row = "| piqa ";
  for (int i = 0; i < 400; ++i) {
    header += "| v" + std::to_string(i) + ' ';
    row += "| 0.5 ";
  }
  const Audit audit = audit_text(header + "|\n" + row + "|\n", "x");
  EXPECT_EQ(audit.tables[0].tests.tests.size(), kMaxVariants * (kMaxVariants - 1) / 2);
  const std::string report = audit_report(audit, 80);
  EXPECT_NE(report.find("336 more columns of scores are left out"), std::string::npos);
  EXPECT_LT(report.size(), 1'000'000u);
  EXPECT_EQ(audit_json(audit)["tables"][0]["left_out"], 336);
}

}  // namespace
}  // namespace qx
