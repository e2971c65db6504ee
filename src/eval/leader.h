// Rank 0 of an evaluation: hands out windows of items to a worker of its own process and to those of other
// ranks, and keeps their answers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/thread_pool.h"
#include "cluster/communicator.h"
#include "eval/rank_message.h"
#include "eval/work_list.h"
#include "eval/worker.h"

namespace qx {

// Rank 0's hold on the other ranks, which all run run_as_rank() (eval/worker.h). However rank 0 leaves, they
// are told to stop; those that do not answer within seconds are given up (Communicator::abandon).
class RankTeam {
 public:
  explicit RankTeam(Communicator& ranks) : ranks_(ranks) {}  // which outlives it
  ~RankTeam();
  RankTeam(const RankTeam&) = delete;
  RankTeam& operator=(const RankTeam&) = delete;
  Communicator& ranks() { return ranks_; }
  void set_stopped() { stopped_ = true; }  // somebody else did it

 private:
  Communicator& ranks_;
  bool stopped_ = false;
};

// What the leader asks and tells of the evaluation that it leads.
class LeaderEvents {
 public:
  virtual ~LeaderEvents() = default;
  // An answer has come. Fails: Error, which ends the evaluation.
  virtual void on_answer(std::size_t model, std::size_t task, Answer answer) = 0;
  // The evaluation was interrupted; the passes at hand are still to end, which may take a while.
  virtual void on_interrupt() = 0;
};

// Threads: made, used and destroyed on one thread, the one that may use the team's ranks. While it runs, `pool`
// belongs to its worker.
class Leader {
 public:
  // team: the other ranks; null when there are none. identity: rank_identity() by model, which the
  // other ranks' must equal. All references outlive the leader.
  Leader(WorkerTexts texts, ThreadPool& pool, RankTeam* team, Json identity);
  ~Leader();
  Leader(const Leader&) = delete;
  Leader& operator=(const Leader&) = delete;

  // Has all of `work` answered; returns when that is done and every rank has said hello.
  // Fails: Error of any rank, after all have stopped or have been given up; Interrupted likewise, and what
  // is still answered meanwhile goes to `events`.
  void run(WorkList work, LeaderEvents& events);

 private:
  struct Worker {
    Communicator* via = nullptr;
    int peer = 0;
    std::string name;
    bool ready = false, idle = false, ended = false;
  };

  void start_local_worker();
  void lead(WorkList& work, LeaderEvents& events);
  bool hear_all(LeaderEvents& events, std::chrono::milliseconds patience);
  void hear(Worker& worker, const Message& message, LeaderEvents& events);
  void greet(Worker& worker, const Json& hello) const;
  void hand_out(WorkList& work);
  bool all(bool Worker::*flag) const;
  void stop(LeaderEvents* events, std::chrono::milliseconds grace);

  WorkerTexts texts_;
  ThreadPool& pool_;
  RankTeam* team_;
  Communicator* remote_;  // of the team
  Json identity_;
  std::vector<std::unique_ptr<Communicator>> local_;  // [0] the leader's end, [1] its worker's
  std::vector<Worker> workers_;                       // by rank; 0 is in this process
  std::size_t outstanding_ = 0;                       // items handed out and not answered
  bool stopped_ = false;
  std::exception_ptr local_error_;
  std::thread thread_;
};

}  // namespace qx
