// What the ranks of an evaluation say to each other. Rank 0 leads: it hands out windows and keeps the answers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "cluster/communicator.h"
#include "eval/work_list.h"
#include "io/json.h"
#include "runs/answer_log.h"

namespace qx {

struct RankMessage {
  enum class Kind {
    kHello,   // worker: ready to work; `hello`
    kIdle,    // worker: wants a window
    kAnswer,  // worker: an answer of `window.model`, `window.task`
    kFailed,  // worker: cannot go on; `text`, and "host" in `hello`
    kBye,     // worker: has stopped, and says no more
    kWindow,  // leader: to be answered
    kStop,    // leader: stop after the pass at hand
  };
  Kind kind = Kind::kIdle;
  WorkWindow window = {};
  Answer answer = {};
  std::string text = {};
  Json hello = {};  // "host", "process", "kernels", "identity": see hello_json()
};

constexpr const char* kInterruptedText = "was interrupted";  // of kFailed

std::string encode_message(const RankMessage& message);
// place: for messages. Fails: Error for bytes that encode_message() does not give.
RankMessage decode_message(std::string_view bytes, std::string_view place);

// What must be equal on all ranks, from their run.json files (model_run.h): everything but paths, threads and
// kernels.
Json rank_identity(const Json& run);
// The first difference in words, or "": "model.files.config.json: got \"ab\", rank 0 has \"cd\"".
std::string first_rank_difference(const Json& got, const Json& rank0, const std::string& path = "");

}  // namespace qx
