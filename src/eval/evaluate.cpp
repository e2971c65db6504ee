// Running an evaluation.
// SPDX-License-Identifier: Apache-2.0
#include "eval/evaluate.h"

#include <memory>
#include <set>

#include "base/error.h"
#include "base/progress.h"
#include "eval/answering.h"
#include "eval/model_run.h"
#include "io/staged.h"

namespace qx {
namespace {

void warn_of_cuts(const Asker& asker, const TaskResult& result, bool quiet) {
  if (result.cut_requests == 0 || quiet) return;
  fmt::print(stderr, "{}: {}: {} contexts were cut on the left to fit the model's {} positions\n",
             asker.model().name, result.task->name, result.cut_requests, asker.rules().max_length);
}

void erase_answered(std::vector<EncodedItem>& items, const AnswerLog& log) {
  std::set<std::int64_t> answered;
  for (const Answer& answer : log.answers()) answered.insert(answer.index);
  std::erase_if(items,
                [&](const EncodedItem& item) { return answered.contains(item.data->index); });
}

ModelOutcome run_model(ModelRun& run, const std::vector<TaskData>& data, const EvalRequest& request,
                       ThreadPool& pool, Progress& progress) {
  const Asker& asker = run.asker();
  std::unique_ptr<Model> model;
  ModelOutcome outcome{asker.model(), run.folder().path(), run.run(), {}};
  for (std::size_t t = 0; t < data.size(); ++t) {
    const Task& task = *data[t].task;
    AnswerLog& log = run.log(t);
    std::string lines;
    std::vector<EncodedItem> items =
        asker.encode(task, data[t].items, pool, request.write_prompts ? &lines : nullptr);
    if (request.write_prompts) write_file_atomic(run.folder().prompts_file(task.name), lines, true);
    const std::int64_t cut = count_cut(items);

    erase_answered(items, log);
    if (!items.empty() && !model)
      model = load_model(asker.model().directory, pool, request.precision, request.kv_bits);
    progress.note(fmt::format("{} {}", asker.model().name, task.name));
    if (model) {
      answer_items(*model, task, items, {}, [&](Answer answer) {
        log.append(std::move(answer));
        progress.advance();
      });
    }
    log.finish();
    if (log.answers().empty()) continue;  // a shard with fewer items than there are shards
    TaskResult result = summarize(task, log.answers());
    result.rows = data[t].rows;
    result.shots = data[t].few_shot.shots;
    result.cut_requests = cut;
    warn_of_cuts(asker, result, request.quiet);
    outcome.results.push_back(result);
  }
  run.folder().finish(results_json(outcome.results));
  return outcome;
}

}  // namespace

EvalOutcome evaluate(const EvalRequest& request, ThreadPool& pool) {
  const std::vector<TaskData> data = load_data(request);
  std::vector<std::unique_ptr<ModelRun>> runs;
  for (const EvalModel& model : request.models) {
    runs.push_back(std::make_unique<ModelRun>(model, data, request, pool.threads()));
  }
  std::int64_t unanswered = 0;
  for (const auto& run : runs) {
    run->open(data, request);
    unanswered += run->unanswered();
  }
  Progress progress("eval", static_cast<std::uint64_t>(unanswered), "items", request.quiet);
  EvalOutcome outcome;
  outcome.data = data_used(data);
  for (const auto& run : runs) {
    outcome.models.push_back(run_model(*run, data, request, pool, progress));
  }
  return outcome;
}

}  // namespace qx
