// SPDX-License-Identifier: Apache-2.0
#include "compare/groups.h"

#include <algorithm>

namespace qx {
namespace {

constexpr std::size_t kMostGroups = 200;

bool is_told_apart(const std::optional<Verdict>& verdict) {
  return verdict == Verdict::kBetter || verdict == Verdict::kWorse;
}

// Bron and Kerbosch (1973) with Tomita's pivot, on runs in the order of their averages.
class Cliques {
 public:
  Cliques(const VerdictMatrix& matrix, const std::vector<std::size_t>& order) : matrix_(matrix) {
    std::vector<std::size_t> chosen;
    extend(chosen, order, {});
  }
  std::vector<std::vector<std::size_t>> found;

 private:
  bool joined(std::size_t a, std::size_t b) const {
    return a != b && !is_told_apart(matrix_[a][b]);
  }
  std::vector<std::size_t> neighbours(const std::vector<std::size_t>& of, std::size_t run) const {
    std::vector<std::size_t> out;
    for (const std::size_t r : of) {
      if (joined(r, run)) out.push_back(r);
    }
    return out;
  }

  void extend(std::vector<std::size_t>& chosen, std::vector<std::size_t> candidates,
              std::vector<std::size_t> excluded) {
    if (found.size() >= kMostGroups) return;
    if (candidates.empty()) {
      if (excluded.empty()) found.push_back(chosen);
      return;
    }
    std::size_t pivot = candidates[0], most = 0;
    for (const auto* list : {&candidates, &excluded}) {
      for (const std::size_t r : *list) {
        const std::size_t count = neighbours(candidates, r).size();
        if (count > most) {
          most = count;
          pivot = r;
        }
      }
    }
    const std::vector<std::size_t> all = candidates;
    for (const std::size_t run : all) {
      if (joined(run, pivot)) continue;
      chosen.push_back(run);
      extend(chosen, neighbours(candidates, run), neighbours(excluded, run));
      chosen.pop_back();
      std::erase(candidates, run);
      excluded.push_back(run);
    }
  }

  const VerdictMatrix& matrix_;
};

// 0 "a" .. 25 "z", 26 "aa", ..
std::string letter(std::size_t group) {
  std::string text;
  for (std::size_t rest = group + 1; rest > 0; rest = (rest - 1) / 26) {
    text.insert(text.begin(), static_cast<char>('a' + (rest - 1) % 26));
  }
  return text;
}

}  // namespace

VerdictMatrix verdict_matrix(const Comparison& c) {
  VerdictMatrix matrix(c.runs.size(), std::vector<std::optional<Verdict>>(c.runs.size()));
  for (const auto* list : {&c.against_baseline, &c.between_variants}) {
    for (const PairSummary& pair : *list) {
      if (!pair.average) continue;
      matrix[pair.variant][pair.baseline] = pair.average->verdict;
      matrix[pair.baseline][pair.variant] = reversed(pair.average->verdict);
    }
  }
  return matrix;
}

Groups find_groups(const Comparison& c) {
  Groups result;
  std::vector<std::size_t> order;
  for (std::size_t r = 0; r < c.runs.size(); ++r) {
    if (!c.runs[r].average) return result;
    order.push_back(r);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return *c.runs[a].average > *c.runs[b].average;
  });
  std::vector<std::size_t> rank(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) rank[order[i]] = i;
  const VerdictMatrix matrix = verdict_matrix(c);
  result.groups = Cliques(matrix, order).found;
  const auto by_rank = [&](std::size_t a, std::size_t b) { return rank[a] < rank[b]; };
  for (auto& group : result.groups) std::sort(group.begin(), group.end(), by_rank);
  std::sort(result.groups.begin(), result.groups.end(), [&](const auto& a, const auto& b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), by_rank);
  });
  result.letters.resize(c.runs.size());
  for (std::size_t g = 0; g < result.groups.size(); ++g) {
    for (const std::size_t r : result.groups[g]) {
      std::string& letters = result.letters[r];
      // One letter a group while there are 26 of them; more are set apart by commas.
      if (result.groups.size() > 26 && !letters.empty()) letters += ',';
      letters += letter(g);
    }
  }
  return result;
}

}  // namespace qx
