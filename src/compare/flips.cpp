// SPDX-License-Identifier: Apache-2.0
#include "compare/flips.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/error.h"

namespace qx {
namespace {

Flip make_flip(const ItemResult& before, const ItemResult& after) {
  Flip flip;
  flip.index = before.index;
  flip.doc_hash = before.doc_hash;
  flip.kind = before.right  ? FlipKind::kRightToWrong
              : after.right ? FlipKind::kWrongToRight
                            : FlipKind::kChanged;
  flip.gold = before.gold;
  flip.from = before.chosen;
  flip.to = after.chosen;
  flip.margin_from = before.margin;
  flip.margin_to = after.margin;
  return flip;
}

}  // namespace

std::string flip_name(FlipKind kind) {
  switch (kind) {
    case FlipKind::kRightToWrong:
      return "right_to_wrong";
    case FlipKind::kWrongToRight:
      return "wrong_to_right";
    case FlipKind::kChanged:
      return "changed";
  }
  return "";
}

std::vector<Flip> find_flips(const TaskResults& baseline, const TaskResults& variant) {
  std::vector<Flip> flips;
  auto after = variant.items.begin();
  for (const ItemResult& before : baseline.items) {
    while (after != variant.items.end() && after->index < before.index) ++after;
    if (after == variant.items.end()) break;
    if (after->index != before.index) continue;
    if (after->doc_hash != before.doc_hash) {
      fail(
          fmt::format("{} item {}", baseline.task, before.index),
          "the runs answered different questions (doc_hash {} and {}), expected runs over the same "
          "data file",
          before.doc_hash, after->doc_hash);
    }
    if (after->chosen == before.chosen && after->right == before.right) continue;
    flips.push_back(make_flip(before, *after));
  }
  const auto key = [](const Flip& f) {
    const double move = std::abs(f.move());
    return std::tuple(std::isnan(move), std::isnan(move) ? 0.0 : -move, f.index);
  };
  std::sort(flips.begin(), flips.end(),
            [&](const Flip& a, const Flip& b) { return key(a) < key(b); });
  return flips;
}

std::vector<TaskFlips> all_flips(const std::vector<RunResults>& runs, std::size_t baseline,
                                 const std::string& task) {
  std::vector<TaskFlips> all;
  const RunResults& base = runs[baseline];
  for (std::size_t r = 0; r < runs.size(); ++r) {
    if (r == baseline) continue;
    for (const auto& [name, results] : base.tasks) {
      const auto other = runs[r].tasks.find(name);
      if (other == runs[r].tasks.end() || (!task.empty() && name != task)) continue;
      TaskFlips flips{name, results.metric, base.name, runs[r].name, 0, {}};
      flips.flips = find_flips(results, other->second);
      for (const ItemResult& item : results.items) {
        flips.items += std::binary_search(
            other->second.items.begin(), other->second.items.end(), item,
            [](const ItemResult& a, const ItemResult& b) { return a.index < b.index; });
      }
      all.push_back(std::move(flips));
    }
  }
  if (all.empty() && !task.empty()) {
    std::string known;
    for (const auto& [name, results] : base.tasks) known += (known.empty() ? "" : ", ") + name;
    throw UsageError(
        fmt::format("--flips: got '{}', expected a task of both runs: {}", task, known));
  }
  return all;
}

Json flips_json(const std::vector<TaskFlips>& all) {
  Json json = Json::array();
  for (const TaskFlips& t : all) {
    Json entry{{"task", t.task},       {"metric", t.metric}, {"baseline", t.baseline},
               {"variant", t.variant}, {"items", t.items},   {"flips", Json::array()}};
    for (const Flip& f : t.flips) {
      entry["flips"].push_back({{"index", f.index},
                                {"doc_hash", f.doc_hash},
                                {"kind", flip_name(f.kind)},
                                {"gold", f.gold},
                                {"from", f.from},
                                {"to", f.to},
                                {"margin_from", json_of_number(f.margin_from)},
                                {"margin_to", json_of_number(f.margin_to)},
                                {"move", json_of_number(f.move())}});
    }
    json.push_back(std::move(entry));
  }
  return json;
}

}  // namespace qx
