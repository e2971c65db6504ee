// SPDX-License-Identifier: Apache-2.0
#include "eval/estimate.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "base/error.h"
#include "eval/answering.h"
#include "io/staged.h"

namespace qx {
namespace {

constexpr std::int64_t kSampleTokens = 384;  // of the speed measurement

double measure_seconds(Model& model, std::span<const EncodedItem> items, const Task& task,
                       std::int64_t tokens_to_forward) {
  std::size_t count = 0;
  std::int64_t tokens = 0;
  while (count < items.size() && tokens < kSampleTokens) {
    ++count;
    tokens = count_tokens(requests_of(items.first(count)), {}).forward;
  }
  if (tokens == 0) return 0;
  const auto begin = std::chrono::steady_clock::now();
  answer_items(model, task, items.first(count), {}, [](const Answer&) {});
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  return taken.count() / static_cast<double>(tokens) * static_cast<double>(tokens_to_forward);
}

TokenCounts count_in_windows(std::span<const EncodedItem> items) {
  TokenCounts sum;
  for (std::size_t first = 0; first < items.size(); first += kWindowItems) {
    const std::size_t count = std::min(kWindowItems, items.size() - first);
    const TokenCounts counts = count_tokens(requests_of(items.subspan(first, count)), {});
    sum.forward += counts.forward;
    sum.unshared += counts.unshared;
    sum.scored += counts.scored;
  }
  return sum;
}

}  // namespace

EvalEstimate estimate(const EvalRequest& request, ThreadPool& pool) {
  const std::vector<TaskData> data = load_data(request);
  EvalEstimate result;
  result.data = data_used(data);
  for (const EvalModel& model : request.models) {
    const Asker asker(model, request);
    const std::unique_ptr<Model> weights =
        load_model(model.directory, pool, request.precision, request.kv_bits);
    ModelEstimate estimate{model, {}, 0};
    for (const TaskData& d : data) {
      std::string lines;
      const std::vector<EncodedItem> items =
          asker.encode(*d.task, d.items, pool, request.write_prompts ? &lines : nullptr);
      if (request.write_prompts) {
        const std::string name = fmt::format("prompts-{}.jsonl", d.task->name);
        write_file_atomic(request.runs / model.name / name, lines, true);
      }
      const TaskEstimate task{d.task, static_cast<std::int64_t>(items.size()),
                              count_in_windows(items)};
      estimate.seconds += measure_seconds(*weights, items, *d.task, task.tokens.forward);
      estimate.tasks.push_back(task);
    }
    result.models.push_back(std::move(estimate));
  }
  return result;
}

}  // namespace qx
