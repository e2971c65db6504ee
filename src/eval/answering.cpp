// SPDX-License-Identifier: Apache-2.0
#include "eval/answering.h"

#include <algorithm>
#include <utility>

#include "tasks/python_text.h"

namespace qx {
namespace {

Answer make_answer(const Task& task, const DataItem& data, const std::vector<PairScore>& scores) {
  Answer answer;
  answer.task = task.name;
  answer.index = data.index;
  answer.doc_hash = data.doc_hash;
  answer.gold = data.item.gold;
  answer.cluster = data.item.cluster;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const std::string& text = data.item.continuations[i];
    answer.choices.push_back({scores[i].ll, scores[i].tokens, python_len(text),
                              static_cast<std::int64_t>(text.size()), scores[i].greedy});
  }
  answer.acc = is_right(answer, "acc") ? 1 : 0;
  if (task.has_acc_norm) answer.acc_norm = is_right(answer, "acc_norm") ? 1 : 0;
  return answer;
}

void answer_window(Model& model, const Task& task, std::span<const EncodedItem> window,
                   const PassRules& rules, const std::function<void(Answer)>& on_answer) {
  struct Progressing {
    std::vector<PairScore> scores;
    std::size_t left = 0;
  };
  std::vector<Progressing> state;
  std::vector<std::pair<std::size_t, std::size_t>> origin;  // request -> item, choice
  for (std::size_t i = 0; i < window.size(); ++i) {
    const std::size_t choices = window[i].pairs.size();
    for (std::size_t c = 0; c < choices; ++c) origin.emplace_back(i, c);
    state.push_back({std::vector<PairScore>(choices), choices});
  }
  score_pairs(model, requests_of(window), rules, [&](std::size_t request, const PairScore& score) {
    const auto [item, choice] = origin[request];
    state[item].scores[choice] = score;
    if (--state[item].left == 0) {
      on_answer(make_answer(task, *window[item].data, state[item].scores));
    }
  });
}

}  // namespace

std::vector<ScoreRequest> requests_of(std::span<const EncodedItem> items) {
  std::vector<ScoreRequest> requests;
  for (const EncodedItem& item : items) {
    for (const EncodedPair& pair : item.pairs) requests.push_back({pair, item.data->index});
  }
  return requests;
}

TokenCounts count_in_windows(std::span<const EncodedItem> items, const PassRules& rules) {
  TokenCounts sum;
  for (std::size_t first = 0; first < items.size(); first += kWindowItems) {
    const std::size_t count = std::min(kWindowItems, items.size() - first);
    const TokenCounts counts = count_tokens(requests_of(items.subspan(first, count)), rules);
    sum.forward += counts.forward;
    sum.unshared += counts.unshared;
    sum.scored += counts.scored;
  }
  return sum;
}

std::vector<std::int64_t> item_costs(std::span<const EncodedItem> items, const PassRules& rules) {
  std::vector<std::int64_t> costs;
  std::int64_t alone = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    costs.push_back(count_tokens(requests_of(items.subspan(i, 1)), rules).forward);
    alone += costs.back();
  }
  const std::int64_t together = count_in_windows(items, rules).forward;
  for (std::int64_t& cost : costs) {
    if (alone > 0) cost = std::max<std::int64_t>(1, cost * together / alone);
  }
  return costs;
}

void answer_items(Model& model, const Task& task, std::span<const EncodedItem> items,
                  const PassRules& rules, const std::function<void(Answer)>& on_answer) {
  for (std::size_t first = 0; first < items.size(); first += kWindowItems) {
    const std::size_t count = std::min(kWindowItems, items.size() - first);
    answer_window(model, task, items.subspan(first, count), rules, on_answer);
  }
}

}  // namespace qx
