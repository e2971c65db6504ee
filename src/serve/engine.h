// The engine of the server: one thread that runs a model for many requests at once. It knows nothing
// of HTTP or OpenAI.
//
// Every step is one forward pass over one new token of each text that is being made, and a share of
// the prompts that are still being read. A text does not depend on what else is in the pass, nor on
// how its prompt was cut (model/model.h), so the schedule is free to be fair.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "generate/draft.h"
#include "generate/generate.h"
#include "model/kv_file.h"
#include "model/model.h"
#include "serve/compute_turn.h"
#include "serve/generation_task.h"
#include "serve/prefix_tree.h"
#include "text/tokenizer.h"

namespace qx {

struct EngineLimits {
  std::int64_t context = 4096;       // prompt and answer of one text
  std::int64_t parallel = 32;        // texts made at once
  std::int64_t waiting = 128;        // tasks that wait for that
  std::int64_t positions = 1 << 20;  // of all texts made at once, each at its longest
  std::int64_t prefix_bytes = 0;     // of the prefix tree
  std::int64_t position_bytes = 0;   // keys and values of a position; 0: those of float32
  std::int64_t pass_rows = 512;      // prompt tokens of a pass
  // A pass should take no longer, so that streams stay lively and cancelling is prompt. Cuts the
  // prompts into smaller pieces on slow machines; results do not depend on it.
  std::chrono::milliseconds pass_time{250};
  // Guesses what texts go on with, which changes none of them. A draft model may be shared by
  // engines of one ComputeTurn.
  DrafterOptions drafts = {};
  std::int64_t draft_texts = 2;  // no guesses while more are made: rows of other texts pay better
};

// Counts since the start, and the state at hand.
struct EngineStats {
  std::int64_t waiting = 0, active = 0;  // tasks that wait, texts being made
  std::int64_t positions = 0;            // reserved
  std::int64_t prefix_bytes = 0;
  std::int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  std::int64_t drafted_tokens = 0, accepted_tokens = 0;
  std::int64_t passes = 0, pass_rows = 0;
  double busy_seconds = 0;
};

struct EngineGroup;  // engine_group.h: a task at work

class ServeEngine {
 public:
  // All must outlive the engine. turn: shared by the engines of one thread pool.
  ServeEngine(Model& model, const Tokenizer& tokenizer, ThreadPool& pool, ComputeTurn& turn,
              EngineLimits limits);
  ~ServeEngine();  // stop()
  ServeEngine(const ServeEngine&) = delete;
  ServeEngine& operator=(const ServeEngine&) = delete;

  // All of the tasks or none. Their sinks hear of the end exactly once, unless refused.
  // Fails: Error for a prompt that is empty, too long, or holds tokens out of range; a task that
  // could never run.
  enum class Submitted { kAccepted, kFull, kStopping };
  Submitted submit(std::vector<GenerationTask> tasks);

  // After a ticket's cancel(): look at it soon, even when nothing else happens.
  void wake();

  void drain();  // refuse new tasks, fail those that wait; the others go on
  void abort();  // fail all
  void stop();   // abort, and end the thread: afterwards nobody hears from it
  bool idle() const;

  // The tree of prefixes, from a file and to one. load: as much as fits, what was used last first;
  // how many tokens that is. Before the first task. The file is one that KvFile::require took.
  // Fails: Error for a file whose texts are not in whole blocks (but one of a single text may be),
  // and as KvFile::load.
  std::int64_t load_prefixes(const KvFile& file);
  // After stop(). Nothing is written when there is nothing. Fails: Error, as write_kv_file.
  void save_prefixes(const std::filesystem::path& path, const KvFileFacts& facts) const;

  EngineStats stats() const;
  const EngineLimits& limits() const { return limits_; }

 private:
  struct Row;
  struct PassPlan;
  using Groups = std::vector<std::unique_ptr<EngineGroup>>;

  void check(const GenerationTask& task) const;
  void run();
  void admit();          // under the mutex
  void drop_finished();  // without it, as all below
  void drop_cancelled();
  void step();
  void plan_pass(PassPlan& plan);
  void plan_drafts();
  void share_prompts(PassPlan& plan);
  void finish_rows(const PassPlan& plan, const Hidden& hidden);
  void work(const Row& row, std::span<float> logits);
  void fail_all(GenerationFailure failure, const std::string& message);
  std::int64_t prompt_budget() const;
  void publish_stats();

  Model& model_;
  const Tokenizer& tokenizer_;
  ThreadPool& pool_;
  ComputeTurn& turn_;
  const EngineLimits limits_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<EngineGroup>> waiting_;                            // under the mutex
  EngineStats stats_;                                                           // under the mutex
  bool draining_ = false, aborting_ = false, exiting_ = false, woken_ = false;  // under the mutex

  // The engine thread's own.
  Groups active_;
  PrefixTree tree_;
  EngineStats counts_;
  double seconds_a_row_ = 0;
  std::vector<float> logits_;

  std::thread thread_;
};

}  // namespace qx
