// SPDX-License-Identifier: Apache-2.0
#include "eval/worker.h"

#include <unistd.h>

#include <exception>
#include <memory>
#include <new>
#include <optional>

#include "base/error.h"
#include "base/interrupt.h"
#include "eval/answering.h"
#include "eval/model_run.h"
#include "eval/rank_message.h"
#include "kernels/api.h"

namespace qx {
namespace {

constexpr int kLeader = 0;
constexpr auto kPatience = std::chrono::milliseconds(100);
using Kind = RankMessage::Kind;

struct Stopped {};  // rank 0 said stop

void say(Communicator& team, const RankMessage& message) {
  team.send(kLeader, encode_message(message));
}

RankMessage hear(Communicator& team, const Message& message) {
  return decode_message(message.bytes, fmt::format("message to rank {}", team.rank()));
}

class Worker {
 public:
  Worker(Communicator& team, const WorkerTexts& texts, ThreadPool& pool)
      : team_(team), texts_(texts), pool_(pool) {}

  void run() {
    say(team_, {.kind = Kind::kIdle});
    while (true) {
      check_interrupt();
      const std::optional<Message> message = team_.receive(kPatience);
      if (!message) continue;
      const RankMessage heard = hear(team_, *message);
      if (heard.kind == Kind::kStop) throw Stopped{};
      QX_CHECK(heard.kind == Kind::kWindow);
      answer(heard.window);
      say(team_, {.kind = Kind::kIdle});
    }
  }

 private:
  void answer(const WorkWindow& window) {
    QX_CHECK(window.model < texts_.askers.size() && window.task < texts_.data->size());
    const TaskData& data = (*texts_.data)[window.task];
    std::vector<DataItem> items;
    for (const std::size_t item : window.items) {
      QX_CHECK(item < data.items.size());
      items.push_back(data.items[item]);
    }
    const std::vector<EncodedItem> encoded =
        texts_.askers[window.model]->encode(*data.task, items, pool_);
    answer_items(model(window.model), *data.task, encoded, texts_.request->pass,
                 [&](Answer answer) {
                   say(team_, {.kind = Kind::kAnswer,
                               .window = {window.model, window.task, {}},
                               .answer = std::move(answer)});
                   look_for_stop();
                 });
  }

  // While a window is answered nothing but stop comes.
  void look_for_stop() {
    const std::optional<Message> message = team_.receive(std::chrono::milliseconds(0));
    if (!message) return;
    QX_CHECK(hear(team_, *message).kind == Kind::kStop);
    throw Stopped{};
  }

  Model& model(std::size_t index) {
    if (!model_ || index != loaded_) {
      model_.reset();  // before the next one is loaded
      model_ = load_model(texts_.askers[index]->model().directory, pool_, texts_.request->precision,
                          texts_.request->kv_bits);
      loaded_ = index;
    }
    return *model_;
  }

  Communicator& team_;
  const WorkerTexts& texts_;
  ThreadPool& pool_;
  std::unique_ptr<Model> model_;
  std::size_t loaded_ = 0;
};

Json hello_json(const Communicator& team, const std::vector<std::unique_ptr<ModelRun>>& runs) {
  Json hello;
  hello["host"] = team.host();
  hello["process"] = static_cast<std::int64_t>(::getpid());
  hello["kernels"] = kernels().name;
  for (const auto& run : runs) {
    hello["identity"][run->asker().model().name] = rank_identity(run->run());
  }
  return hello;
}

// Until rank 0 says stop; it may be in the middle of something.
void wait_for_stop(Communicator& team) {
  while (true) {
    const std::optional<Message> message = team.receive(kPatience);
    if (message && hear(team, *message).kind == Kind::kStop) return;
  }
}

}  // namespace

void answer_windows(Communicator& team, const WorkerTexts& texts, ThreadPool& pool) {
  Worker(team, texts, pool).run();
}

void serve_evaluation(const EvalRequest& request, ThreadPool& pool, Communicator& team) {
  const std::vector<TaskData> data = load_data(request);
  std::vector<std::unique_ptr<ModelRun>> runs;
  WorkerTexts texts{&request, &data, {}};
  for (const EvalModel& model : request.models) {
    runs.push_back(std::make_unique<ModelRun>(model, data, request, pool.threads()));
    texts.askers.push_back(&runs.back()->asker());
  }
  say(team, {.kind = Kind::kHello, .hello = hello_json(team, runs)});
  answer_windows(team, texts, pool);
}

void run_as_rank(Communicator& team, const std::function<void()>& work) {
  std::string failure;
  bool stopped = false;
  try {
    work();
  } catch (const Stopped&) {
    stopped = true;
  } catch (const Interrupted&) {
    failure = kInterruptedText;
  } catch (const std::bad_alloc&) {
    failure = "[memory] the machine has too little for this, expected more or a smaller model";
  } catch (const std::exception& e) {
    failure = e.what();
  }
  if (!failure.empty()) {
    say(team, {.kind = Kind::kFailed, .text = failure, .hello = Json{{"host", team.host()}}});
  }
  if (!stopped) wait_for_stop(team);
  say(team, {.kind = Kind::kBye});
}

}  // namespace qx
