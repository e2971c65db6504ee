// A conversation with a model: what it is asked becomes a prompt, of which only the new part is computed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/conversation.h"
#include "chat/thinking_split.h"
#include "generate/generate.h"
#include "model/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace qx {

struct ChatSettings {
  std::int64_t max_tokens = 2048;  // of an answer
  SamplerOptions sampling = {};    // turn t of a conversation draws with seed + t, from 0
  std::vector<TokenId> stop = {};
  std::vector<std::string> stop_texts = {};
  Json template_variables = Json::object();
  Drafter* drafter = nullptr;  // guesses what comes next (generate/draft.h); null: nobody
};

struct ChatReply {
  Generation generation;
  std::string answer, reasoning;
  // Turns that the model no longer sees, of which `dropped_now` for this answer.
  std::size_t dropped = 0, dropped_now = 0;
  bool kept = false;  // the turn is in the conversation: something was said before it was cancelled
};

// Threads: one caller at a time.
class ChatSession {
 public:
  // context: prompt and answer together. All must outlive the session.
  ChatSession(Model& model, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
              std::int64_t context);

  // Asks, and adds the turn to the conversation. Where the conversation has become too long, the oldest
  // turns are left out of the prompt (they stay in the conversation), see first_turn().
  // on_piece: as the answer comes. cancelled: asked between tokens, and when a pass was interrupted
  // (base/interrupt.h); what was said until then is kept.
  // Fails: Error when the template refuses the conversation, or the message alone is too long; the
  // conversation is as it was then.
  ChatReply ask(Conversation& conversation, std::string_view message, const ChatSettings& settings,
                const std::function<void(const AnswerPiece&)>& on_piece,
                const std::function<bool()>& cancelled);

  // The conversation is another one, or has other turns: the model sees all of it again.
  void restart() { first_turn_ = 0; }
  std::size_t first_turn() const { return first_turn_; }  // the first one that the model sees
  std::int64_t context() const { return kept_.context(); }
  // What is kept from turn to turn, to be saved, and replaced by what was saved.
  KeptSequence& kept() { return kept_; }

 private:
  struct Prompt {
    std::string text;
    std::vector<TokenId> tokens;
  };
  Prompt encode(const Conversation& conversation, std::size_t first, std::string_view message,
                const ChatSettings& settings) const;
  Prompt fit(const Conversation& conversation, std::string_view message,
             const ChatSettings& settings, std::size_t& first) const;

  Model* model_;
  const Tokenizer* tokenizer_;
  const ChatTemplate* template_;
  KeptSequence kept_;
  std::size_t first_turn_ = 0;
};

}  // namespace qx
