// Running an evaluation.
// SPDX-License-Identifier: Apache-2.0
#include "eval/evaluate.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/interrupt.h"
#include "eval/answering.h"
#include "eval/eval_progress.h"
#include "eval/leader.h"
#include "eval/model_run.h"
#include "io/staged.h"

namespace qx {
namespace {

// One model's answers to one task.
struct Unit {
  TaskState state;
  std::int64_t left = 0;                        // items without an answer
  std::int64_t cut = 0;                         // contexts cut on the left, of all items
  std::map<std::int64_t, std::int64_t> tokens;  // of each item by its row, about
};

class Evaluation final : public LeaderEvents {
 public:
  Evaluation(const EvalRequest& request, ThreadPool& pool)
      : request_(request), pool_(pool), data_(load_data(request)) {
    for (const EvalModel& model : request.models) {
      runs_.push_back(std::make_unique<ModelRun>(model, data_, request, pool.threads()));
    }
    for (const auto& run : runs_) run->open(data_, request);
  }

  EvalOutcome run(RankTeam* team) {
    team_ = team;
    prepare();
    progress_.emplace(items_left_, tokens_left_, request_.quiet);
    WorkerTexts texts{&request_, &data_, {}};
    Json identity;
    for (const auto& run : runs_) {
      texts.askers.push_back(&run->asker());
      identity[run->asker().model().name] = rank_identity(run->run());
    }
    for (std::size_t m = 0; m < runs_.size(); ++m) finish_if_done(m);
    try {
      Leader leader(std::move(texts), pool_, team, std::move(identity));
      leader.run(work(), *this);
    } catch (const Interrupted&) {
      progress_.reset();
      throw Interrupted{told_ ? "" : how_to_go_on()};
    }
    progress_.reset();
    return outcome();
  }

  void on_answer(std::size_t model, std::size_t task, Answer answer) override {
    Unit& unit = units_.at(model).at(task);
    QX_CHECK(unit.left > 0);
    const std::int64_t tokens = unit.tokens.at(answer.index);
    const int right = answer.acc;
    // First: an answer that cannot be written must not count, or the run could end without it.
    runs_[model]->log(task).append(std::move(answer));
    TaskState& state = unit.state;
    ++state.answered;
    ++state.answered_now;
    state.right += right;
    state.tokens += tokens;
    state.tokens_left -= tokens;
    --unit.left;
    progress_->answered(state, tokens);
    if (unit.left > 0) return;
    runs_[model]->log(task).finish();
    progress_->finished(state);
    finish_if_done(model);
  }

  void on_interrupt() override {
    progress_->say("");  // a line of its own, after the terminal's ^C
    if (team_ == nullptr) {
      if (request_.quiet) return;
      fmt::print(stderr, "stopping after the pass at hand; once more stops at once\n");
      return;
    }
    // The launcher may kill this process before the passes at hand end.
    fmt::print(stderr, "qx eval: interrupted; {}\n", how_to_go_on());
    told_ = true;
  }

 private:
  // Every prompt is made once before anything is asked: what is wrong with row 9000 is said now, and tokens
  // tell how long it will take.
  void prepare() {
    for (const auto& run : runs_) {
      std::vector<Unit>& units = units_.emplace_back();
      for (std::size_t t = 0; t < data_.size(); ++t) units.push_back(make_unit(*run, t));
    }
  }

  Unit make_unit(ModelRun& run, std::size_t t) {
    check_interrupt();
    const TaskData& data = data_[t];
    const Task& task = *data.task;
    std::string lines;
    const std::vector<EncodedItem> items =
        run.asker().encode(task, data.items, pool_, request_.write_prompts ? &lines : nullptr);
    if (request_.write_prompts)
      write_file_atomic(run.folder().prompts_file(task.name), lines, true);
    Unit unit;
    unit.cut = count_cut(items);
    const std::vector<std::int64_t> costs = item_costs(items, request_.pass);
    for (std::size_t i = 0; i < items.size(); ++i) unit.tokens[data.items[i].index] = costs[i];
    unit.state.model = run.asker().model().name;
    unit.state.task = task.name;
    unit.state.items = static_cast<std::int64_t>(items.size());
    unit.state.answered = static_cast<std::int64_t>(run.log(t).answers().size());
    unit.left = unit.state.items - unit.state.answered;
    unit.state.tokens_left = std::accumulate(costs.begin(), costs.end(), std::int64_t{0});
    for (const Answer& answer : run.log(t).answers()) {
      unit.state.right += answer.acc;
      unit.state.tokens_left -= unit.tokens.at(answer.index);
    }
    items_left_ += unit.left;
    tokens_left_ += unit.state.tokens_left;
    return unit;
  }

  WorkList work() {
    WorkList list;
    for (std::size_t m = 0; m < runs_.size(); ++m) {
      for (std::size_t t = 0; t < data_.size(); ++t) {
        std::set<std::int64_t> answered;
        for (const Answer& answer : runs_[m]->log(t).answers()) answered.insert(answer.index);
        std::vector<WorkList::Item> items;
        for (std::size_t i = 0; i < data_[t].items.size(); ++i) {
          const std::int64_t row = data_[t].items[i].index;
          if (!answered.contains(row)) items.push_back({i, units_[m][t].tokens.at(row)});
        }
        list.add(m, t, std::move(items));
      }
    }
    return list;
  }

  void finish_if_done(std::size_t model) {
    std::vector<Unit>& units = units_[model];
    if (std::any_of(units.begin(), units.end(), [](const Unit& u) { return u.left > 0; })) return;
    for (std::size_t t = 0; t < units.size(); ++t) runs_[model]->log(t).finish();
    runs_[model]->folder().finish(results_json(results(model)));
  }

  std::vector<TaskResult> results(std::size_t model) {
    std::vector<TaskResult> results;
    for (std::size_t t = 0; t < data_.size(); ++t) {
      if (data_[t].items.empty()) continue;  // a shard with fewer items than there are shards
      TaskResult result = summarize(*data_[t].task, runs_[model]->log(t).answers());
      result.rows = data_[t].rows;
      result.shots = data_[t].few_shot.shots;
      result.cut_requests = units_[model][t].cut;
      results.push_back(result);
    }
    return results;
  }

  EvalOutcome outcome() {
    EvalOutcome outcome;
    outcome.data = data_used(data_);
    for (std::size_t m = 0; m < runs_.size(); ++m) {
      ModelRun& run = *runs_[m];
      outcome.models.push_back({run.asker().model(), run.folder().path(), run.run(), results(m)});
      for (const TaskResult& result : outcome.models.back().results) warn_of_cuts(run, result);
    }
    return outcome;
  }

  void warn_of_cuts(const ModelRun& run, const TaskResult& result) const {
    if (result.cut_requests == 0 || request_.quiet) return;
    fmt::print(stderr, "{}: {}: {} contexts were cut on the left to fit the model's {} positions\n",
               run.asker().model().name, result.task->name, result.cut_requests,
               run.asker().rules().max_length);
  }

  std::string how_to_go_on() const {
    std::int64_t items = 0, answered = 0;
    for (const std::vector<Unit>& units : units_) {
      for (const Unit& unit : units) {
        items += unit.state.items;
        answered += unit.state.answered;
      }
    }
    return fmt::format("{} of {} answered and kept; run the same command again{} to go on",
                       answered, items,
                       request_.how == OpenRun::kStartOver ? " without --force" : "");
  }

  const EvalRequest& request_;
  ThreadPool& pool_;
  std::vector<TaskData> data_;
  std::vector<std::unique_ptr<ModelRun>> runs_;
  std::vector<std::vector<Unit>> units_;  // [model][task]
  std::int64_t items_left_ = 0, tokens_left_ = 0;
  std::optional<EvalProgress> progress_;
  RankTeam* team_ = nullptr;
  bool told_ = false;  // how to go on
};

}  // namespace

EvalOutcome evaluate(const EvalRequest& request, ThreadPool& pool, RankTeam* team) {
  return Evaluation(request, pool).run(team);
}

}  // namespace qx
