// SPDX-License-Identifier: Apache-2.0
#include "eval/leader.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/interrupt.h"
#include "cluster/in_process.h"
#include "kernels/api.h"

namespace qx {
namespace {

using Kind = RankMessage::Kind;
using std::chrono::milliseconds;

// How long the leader sleeps when nobody says anything: a worker in this process wakes it at once, those
// of other processes are looked after so often.
constexpr milliseconds kAloneNap(100), kRemoteNap(2);
// After a failure: how long other ranks may take to end their pass before they are given up.
constexpr milliseconds kGrace(5000);
// After everything was answered: a rank may be slow to hear it, and its end is part of a good end.
constexpr milliseconds kGoodEndGrace(60'000);
// Launchers kill soon after they ask to end.
constexpr milliseconds kInterruptedGrace(300);

}  // namespace

Leader::Leader(WorkerTexts texts, ThreadPool& pool, RankTeam* team, Json identity)
    : texts_(std::move(texts)),
      pool_(pool),
      team_(team),
      remote_(team != nullptr ? &team->ranks() : nullptr),
      identity_(std::move(identity)),
      local_(in_process_ranks(2)) {
  workers_.push_back({local_[0].get(), 1, "rank 0", true, false, false});
  for (int rank = 1; remote_ != nullptr && rank < remote_->size(); ++rank) {
    workers_.push_back({remote_, rank, fmt::format("rank {}", rank), false, false, false});
  }
}

Leader::~Leader() {
  if (thread_.joinable()) {
    stop(nullptr, kGrace);
    thread_.join();
  }
}

void Leader::start_local_worker() {
  thread_ = std::thread([this] {
    run_as_rank(*local_[1], [this] {
      try {
        answer_windows(*local_[1], texts_, pool_);
      } catch (...) {
        local_error_ = std::current_exception();  // read when its failure is heard
        throw;
      }
    });
  });
}

void Leader::run(WorkList work, LeaderEvents& events) {
  start_local_worker();
  try {
    lead(work, events);
    stop(&events, kGoodEndGrace);
  } catch (const Interrupted&) {
    events.on_interrupt();
    stop(&events, remote_ != nullptr ? kInterruptedGrace : kGrace);
    throw;
  } catch (...) {
    stop(&events, kGrace);
    throw;
  }
}

void Leader::lead(WorkList& work, LeaderEvents& events) {
  while (true) {
    check_interrupt();
    hand_out(work);
    if (outstanding_ == 0 && work.cost_left() == 0 && all(&Worker::ready)) return;
    hear_all(events, remote_ != nullptr ? kRemoteNap : kAloneNap);
  }
}

bool Leader::all(bool Worker::*flag) const {
  return std::all_of(workers_.begin(), workers_.end(), [&](const Worker& w) { return w.*flag; });
}

void Leader::hand_out(WorkList& work) {
  for (Worker& worker : workers_) {
    if (!worker.ready || !worker.idle) continue;
    std::optional<WorkWindow> window = work.next(static_cast<int>(workers_.size()));
    if (!window) return;
    outstanding_ += window->items.size();
    worker.idle = false;
    worker.via->send(worker.peer,
                     encode_message({.kind = Kind::kWindow, .window = std::move(*window)}));
  }
}

// Everything that has come; waits for a first message at most so long.
bool Leader::hear_all(LeaderEvents& events, milliseconds patience) {
  bool heard = false;
  while (remote_ != nullptr) {
    const std::optional<Message> message = remote_->receive(milliseconds(0));
    if (!message) break;
    heard = true;
    hear(workers_.at(static_cast<std::size_t>(message->from)), *message, events);
  }
  while (true) {
    const std::optional<Message> message = local_[0]->receive(heard ? milliseconds(0) : patience);
    if (!message) return heard;
    heard = true;
    hear(workers_[0], *message, events);
  }
}

void Leader::hear(Worker& worker, const Message& message, LeaderEvents& events) {
  RankMessage heard = decode_message(message.bytes, fmt::format("message of {}", worker.name));
  switch (heard.kind) {
    case Kind::kHello:
      worker.name = fmt::format("rank {} on {}", worker.peer, heard.hello.value("host", "unknown"));
      if (!stopped_) greet(worker, heard.hello);
      worker.ready = true;
      return;
    case Kind::kIdle:
      worker.idle = true;
      return;
    case Kind::kAnswer:
      QX_CHECK(outstanding_ > 0);
      --outstanding_;
      events.on_answer(heard.window.model, heard.window.task, std::move(heard.answer));
      return;
    case Kind::kFailed:
      if (stopped_) return;
      if (worker.via == local_[0].get()) std::rethrow_exception(local_error_);
      worker.name = fmt::format("rank {} on {}", worker.peer, heard.hello.value("host", "unknown"));
      if (heard.text == kInterruptedText) {
        // Launchers ask all ranks to end; then this one is about to hear of it too.
        std::this_thread::sleep_for(kInterruptedGrace);
        check_interrupt();
      }
      fail(worker.name, "{}", heard.text);
    case Kind::kBye:
      worker.ended = true;
      return;
    case Kind::kWindow:
    case Kind::kStop:
      break;
  }
  const bool worker_spoke_as_leader = true;
  QX_CHECK(!worker_spoke_as_leader);
}

void Leader::greet(Worker& worker, const Json& hello) const {
  const std::string difference = first_rank_difference(hello.value("identity", Json()), identity_);
  if (!difference.empty()) {
    fail(worker.name, "{}; every rank needs the same program, command, models and data",
         difference);
  }
  const std::string table = hello.value("kernels", "");
  if (texts_.request->precision == Precision::kFast && table != kernels().name) {
    fail(worker.name,
         "got kernels {}, rank 0 has {}; with --precision fast answers may depend on them, so name "
         "one that all machines have by --isa",
         table, kernels().name);
  }
}

void Leader::stop(LeaderEvents* events, milliseconds grace) {
  if (stopped_) return;
  stopped_ = true;
  if (team_ != nullptr) team_->set_stopped();
  for (const Worker& worker : workers_) {
    worker.via->send(worker.peer, encode_message({.kind = Kind::kStop}));
  }
  struct Ignore final : LeaderEvents {
    void on_answer(std::size_t, std::size_t, Answer) override {}
    void on_interrupt() override {}
  } ignore;
  const auto until = std::chrono::steady_clock::now() + grace;
  // The worker of this process is always waited for: it uses what the caller is about to destroy.
  while (!all(&Worker::ended)) {
    try {
      hear_all(events != nullptr ? *events : ignore, kRemoteNap);
    } catch (const std::exception&) {
      events = nullptr;  // such as a full disk; the first failure is the one that is told
    }
    if (remote_ != nullptr && workers_[0].ended && std::chrono::steady_clock::now() > until) {
      remote_->abandon();
      break;
    }
  }
}

RankTeam::~RankTeam() {
  if (stopped_) return;
  const auto until = std::chrono::steady_clock::now() + kGrace;
  for (int rank = 1; rank < ranks_.size(); ++rank) {
    ranks_.send(rank, encode_message({.kind = Kind::kStop}));
  }
  for (int left = ranks_.size() - 1; left > 0;) {
    const std::optional<Message> message = ranks_.receive(milliseconds(100));
    if (message && message->bytes == encode_message({.kind = Kind::kBye})) --left;
    if (std::chrono::steady_clock::now() > until) {
      ranks_.abandon();
      return;
    }
  }
}

}  // namespace qx
