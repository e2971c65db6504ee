// SPDX-License-Identifier: Apache-2.0
#include "eval/eval_request.h"

namespace qx {

std::vector<TaskData> load_data(const EvalRequest& request) {
  std::vector<TaskData> data;
  for (const Task* task : request.tasks) {
    data.push_back(load_task_data(*task, request.data_directory, request.rows));
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
