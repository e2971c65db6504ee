// SPDX-License-Identifier: Apache-2.0
#include "eval/eval_request.h"

#include <algorithm>

#include "base/error.h"
#include "text/chat_template.h"

namespace qx {
namespace {

Convention convention_of(const EvalRequest& request, const EvalModel& model) {
  if (request.convention) return *request.convention;
  const bool chat = request.chat ? *request.chat : ChatTemplate::load(model.directory).has_value();
  return chat ? Convention::kMlxLm : Convention::kLmEval;
}

}  // namespace

void check_request(const EvalRequest& request) {
  const bool plain = request.chat && !*request.chat;
  if (plain && !request.template_variables.is_null()) {
    throw UsageError("--chat-template-config has no use with --plain");
  }
  if (request.shots == 0 && (request.few_shot_seed || request.multiturn)) {
    throw UsageError("--fewshot-seed and the form of the examples have no use without --shots");
  }
  if (plain && request.multiturn) {
    throw UsageError(
        "--fewshot-as-multiturn and --fewshot-single-turn are forms of a chat: no use with "
        "--plain");
  }
}

FewShot few_shot_of(const EvalRequest& request) {
  FewShot few_shot{request.shots, request.few_shot_seed.value_or(kLmEvalFewShotSeed)};
  if (request.shots == 0 || request.few_shot_seed || request.models.empty()) return few_shot;
  const Convention first = convention_of(request, request.models.front());
  for (const EvalModel& model : request.models) {
    if (convention_of(request, model) == first) continue;
    throw UsageError(
        fmt::format("--shots: {} and {} are asked by different conventions, whose examples are "
                    "drawn with different "
                    "seeds; say --fewshot-seed, --convention or --plain",
                    request.models.front().name, model.name));
  }
  few_shot.seed = first == Convention::kMlxLm ? kMlxLmFewShotSeed : kLmEvalFewShotSeed;
  return few_shot;
}

std::vector<TaskData> load_data(const EvalRequest& request) {
  const FewShot few_shot = few_shot_of(request);
  std::vector<TaskData> data;
  for (const Task* task : request.tasks) {
    data.push_back(load_task_data(*task, request.data_directory, request.rows));
    draw_examples(data.back(), few_shot);
  }
  return data;
}

std::vector<DataUsed> data_used(const std::vector<TaskData>& data) {
  std::vector<DataUsed> used;
  for (const TaskData& d : data) {
    used.push_back({std::string(d.task->name), d.origin, d.file, d.hash,
                    static_cast<std::int64_t>(d.items.size()), d.rows});
  }
  return used;
}

}  // namespace qx
