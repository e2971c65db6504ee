// SPDX-License-Identifier: Apache-2.0
#include "chat/chat_session.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/interrupt.h"
#include "generate/stop_text.h"

namespace qx {

ChatSession::ChatSession(Model& model, const Tokenizer& tokenizer,
                         const ChatTemplate& chat_template, std::int64_t context)
    : model_(&model), tokenizer_(&tokenizer), template_(&chat_template), kept_(model, context) {}

ChatSession::Prompt ChatSession::encode(const Conversation& conversation, std::size_t first,
                                        std::string_view message,
                                        const ChatSettings& settings) const {
  ChatOptions options;
  options.variables = settings.template_variables;
  Prompt out;
  out.text = template_->render(conversation.messages(first, message), options);
  out.tokens = tokenizer_->encode(out.text, SpecialTokens::kNone);
  return out;
}

// The prompt with as many turns as fit, from the end; `first` moves on to the oldest of them.
//
// An answer gets a quarter of the context, or less when it may not be so long. Once turns must go, a
// quarter more than needed does: dropping moves all positions, so everything is computed again, and
// that should not happen at every turn.
ChatSession::Prompt ChatSession::fit(const Conversation& conversation, std::string_view message,
                                     const ChatSettings& settings, std::size_t& first) const {
  const std::int64_t context = kept_.context();
  const std::int64_t room =
      context - std::max<std::int64_t>(1, std::min(settings.max_tokens, context / 4));
  Prompt prompt = encode(conversation, first, message, settings);
  const auto size = [&] { return static_cast<std::int64_t>(prompt.tokens.size()); };
  if (size() <= room) return prompt;
  while (first < conversation.turns.size() && size() > room - room / 4) {
    prompt = encode(conversation, ++first, message, settings);
  }
  if (size() > room) {
    fail(
        "message",
        "got {} tokens with the system prompt and the template, expected at most {} of the context "
        "of {}; shorten it, or start with a larger --ctx",
        size(), room, context);
  }
  return prompt;
}

ChatReply ChatSession::ask(Conversation& conversation, std::string_view message,
                           const ChatSettings& settings,
                           const std::function<void(const AnswerPiece&)>& on_piece,
                           const std::function<bool()>& cancelled) {
  if (!is_valid_utf8(message)) fail("message", "got bytes that are not UTF-8, expected text");
  ChatReply reply;
  std::size_t first = std::min(first_turn_, conversation.turns.size());
  const Prompt prompt = fit(conversation, message, settings, first);
  reply.dropped_now = first - std::min(first_turn_, first);
  reply.dropped = first;

  GenerateOptions options;
  options.max_tokens = settings.max_tokens;
  options.sampling = settings.sampling;
  options.sampling.seed += conversation.turns.size();
  options.stop = settings.stop;
  options.drafter = settings.drafter;
  options.cancelled = cancelled;
  StopText stop(settings.stop_texts);
  StreamDetokenizer detokenizer(*tokenizer_, DecodeSpecial::kKeep);
  ThinkingSplit split(thinking_markers(*tokenizer_), prompt.text);
  const auto show = [&](const std::vector<AnswerPiece>& pieces) {
    for (const AnswerPiece& piece : pieces) on_piece(piece);
  };
  options.finished = [&] { return stop.stopped(); };
  std::vector<TokenId> said;
  try {
    reply.generation = generate(*model_, kept_, prompt.tokens, options, [&](TokenId id) {
      said.push_back(id);
      show(split.push(stop.push(detokenizer.push(id))));
    });
  } catch (const Interrupted&) {  // in the middle of a pass
    if (!cancelled || !cancelled()) throw;
    reply.generation.tokens = said;
    reply.generation.prompt_tokens = static_cast<std::int64_t>(prompt.tokens.size());
    reply.generation.finish_reason = FinishReason::kCancelled;
  }
  show(split.push(stop.push(detokenizer.finish())));
  show(split.push(stop.finish()));
  show(split.finish());

  first_turn_ = first;
  reply.answer = split.answer();
  reply.reasoning = split.reasoning();
  reply.kept = reply.generation.finish_reason != FinishReason::kCancelled ||
               !reply.answer.empty() || !reply.reasoning.empty();
  if (reply.kept) {
    conversation.turns.push_back({std::string(message), reply.answer, reply.reasoning});
  }
  return reply;
}

}  // namespace qx
