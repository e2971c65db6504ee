// SPDX-License-Identifier: Apache-2.0
#include "eval/estimate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <set>

#include "base/error.h"
#include "base/interrupt.h"
#include "eval/answering.h"
#include "eval/model_run.h"
#include "io/staged.h"

namespace qx {
namespace {

constexpr std::int64_t kSampleTokens = 256;  // of each of a task's two samples, at least
constexpr std::size_t kSpread = 5;           // parts of a task that its samples come from

double answer_and_time(Model& model, const Task& task, std::span<const EncodedItem> items,
                       const PassRules& rules) {
  const auto begin = std::chrono::steady_clock::now();
  answer_items(model, task, items, rules, [](const Answer&) {});
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// All items in an order that comes from all over the task however early it ends.
std::vector<EncodedItem> scattered(const std::vector<EncodedItem>& items) {
  std::vector<EncodedItem> order;
  const std::size_t stride = (items.size() + kSpread - 1) / kSpread;
  for (std::size_t first = 0; first < stride; ++first) {
    for (std::size_t i = first; i < items.size(); i += stride) order.push_back(items[i]);
  }
  return order;
}

TimeRange measure(Model& model, const Task& task, const std::vector<EncodedItem>& items,
                  std::int64_t tokens, const PassRules& rules) {
  const std::vector<EncodedItem> order = scattered(items);
  std::int64_t sample_tokens[2] = {};
  double sample_seconds[2] = {};
  std::span<const EncodedItem> rest = order;
  for (int sample = 0; sample < 2 && !rest.empty(); ++sample) {
    std::size_t count = 0;
    while (count < rest.size() && sample_tokens[sample] < kSampleTokens) {
      sample_tokens[sample] = count_tokens(requests_of(rest.first(++count)), rules).forward;
    }
    sample_seconds[sample] = answer_and_time(model, task, rest.first(count), rules);
    rest = rest.subspan(count);
  }
  return extrapolate(tokens, sample_tokens, sample_seconds);
}

// Rows that the folder of `run` has answers for; or why it would be refused.
std::vector<std::set<std::int64_t>> answered_rows(const ModelRun& run,
                                                  const std::vector<TaskData>& data,
                                                  const EvalRequest& request,
                                                  std::string* conflict) {
  std::vector<std::set<std::int64_t>> rows(data.size());
  const std::filesystem::path folder = request.runs / run.asker().model().name;
  if (request.how == OpenRun::kStartOver || !std::filesystem::exists(folder / "run.json")) {
    return rows;
  }
  *conflict = first_run_difference(read_json_file(folder / "run.json"), run.run());
  if (!conflict->empty()) return rows;
  for (std::size_t t = 0; t < data.size(); ++t) {
    const std::filesystem::path file = folder / fmt::format("answers-{}.jsonl", data[t].task->name);
    if (!std::filesystem::exists(file)) continue;
    for (const Answer& answer : read_answers(file)) rows[t].insert(answer.index);
  }
  return rows;
}

// One model's tasks, the model loaded when the first of them needs it.
class Estimator {
 public:
  Estimator(const EvalModel& model, const std::vector<TaskData>& data, const EvalRequest& request,
            ThreadPool& pool)
      : run_(model, data, request, pool.threads()), request_(request), pool_(pool) {
    result_.model = model;
    answered_ = answered_rows(run_, data, request, &result_.conflict);
  }

  void add(const TaskData& data, std::size_t t) {
    check_interrupt();
    const Task& task = *data.task;
    std::string lines;
    std::vector<EncodedItem> items =
        run_.asker().encode(task, data.items, pool_, request_.write_prompts ? &lines : nullptr);
    // Never among the files of another run, or of one that is being written.
    if (request_.write_prompts && result_.conflict.empty()) {
      const std::string name = fmt::format("prompts-{}.jsonl", task.name);
      write_file_atomic(request_.runs / result_.model.name / name, lines, true);
    }
    std::erase_if(items,
                  [&](const EncodedItem& i) { return answered_[t].contains(i.data->index); });
    TaskEstimate estimate;
    estimate.task = &task;
    estimate.items = static_cast<std::int64_t>(items.size());
    estimate.answered = static_cast<std::int64_t>(data.items.size()) - estimate.items;
    estimate.tokens = count_in_windows(items, request_.pass);
    if (!items.empty()) {
      estimate.time =
          measure(model(task, items), task, items, estimate.tokens.forward, request_.pass);
    }
    result_.time.seconds += estimate.time.seconds;
    result_.time.low += estimate.time.low;
    result_.time.high += estimate.time.high;
    result_.tasks.push_back(estimate);
  }

  ModelEstimate result() && { return std::move(result_); }

 private:
  Model& model(const Task& task, std::span<const EncodedItem> items) {
    if (!model_) {
      model_ = load_model(result_.model.directory, pool_, request_.precision, request_.kv_bits);
      // The first pass reads the weights from the disk, which the run does once.
      answer_and_time(*model_, task, items.first(1), request_.pass);
    }
    return *model_;
  }

  ModelRun run_;
  const EvalRequest& request_;
  ThreadPool& pool_;
  std::vector<std::set<std::int64_t>> answered_;  // by task
  std::unique_ptr<Model> model_;
  ModelEstimate result_;
};

}  // namespace

TimeRange extrapolate(std::int64_t tokens, const std::int64_t sample_tokens[2],
                      const double sample_seconds[2]) {
  const std::int64_t all = sample_tokens[0] + sample_tokens[1];
  if (all == 0) return {};
  const auto wanted = static_cast<double>(tokens);
  TimeRange time;
  time.seconds = (sample_seconds[0] + sample_seconds[1]) / static_cast<double>(all) * wanted;
  double error = kLeastError;
  if (sample_tokens[0] > 0 && sample_tokens[1] > 0 && time.seconds > 0) {
    for (int i = 0; i < 2; ++i) {
      const double alone = sample_seconds[i] / static_cast<double>(sample_tokens[i]) * wanted;
      error = std::max(error, std::abs(alone - time.seconds) / time.seconds);
    }
  }
  time.low = time.seconds / (1 + error);
  time.high = time.seconds * (1 + error);
  return time;
}

EvalEstimate estimate(const EvalRequest& request, ThreadPool& pool) {
  const std::vector<TaskData> data = load_data(request);
  EvalEstimate result;
  result.data = data_used(data);
  for (const EvalModel& model : request.models) {
    Estimator estimator(model, data, request, pool);
    for (std::size_t t = 0; t < data.size(); ++t) estimator.add(data[t], t);
    result.models.push_back(std::move(estimator).result());
  }
  return result;
}

}  // namespace qx
