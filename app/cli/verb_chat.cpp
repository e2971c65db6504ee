// qx chat: a conversation with a model.
// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/interrupt.h"
#include "chat/chat_input.h"
#include "chat/chat_session.h"
#include "chat_display.h"
#include "chat_signals.h"
#include "draft_options.h"
#include "generate/kept_file.h"
#include "line_editor.h"
#include "options.h"
#include "sampling_options.h"
#include "terminal.h"
#include "text/visible.h"
#include "verbs.h"

namespace qx::cli {
namespace {
namespace fs = std::filesystem;

// Positions, unless --ctx says how many: keys and values take memory only as the conversation grows.
constexpr std::int64_t kChatContext = 8192;

struct ChatFlags {
  std::string model, precision, template_config, history_file, load, cache_file;
  std::optional<std::string> system;
  int kv_bits = 32;
  bool allow_swap = false, quiet = false, no_history = false;
  std::int64_t context = 0, max_tokens = 2048;
  SamplingOptions sampling;
  DraftOptions draft;
  ComputeOptions compute;
};

// A model and what is known of it; addresses stay, since the session refers to the others.
struct ChatModel {
  std::string name;
  Json
      identity;  // of its keys and values, for --prompt-cache-file: the weights as they were loaded
  Tokenizer tokenizer;
  ChatTemplate chat_template;
  std::unique_ptr<Model> model, draft_model;
  std::optional<Drafter> drafter;
  ChatSettings settings;
  std::optional<ChatSession> session;
};

// Drafts for the model, if any are asked for and the draft model fits it. `required`: it has to.
void add_drafter(const ChatFlags& o, ChatModel& out, const fs::path& directory,
                 std::int64_t context, bool required, ThreadPool& pool) {
  if (!o.draft.wanted()) return;
  const DraftTarget target = {.verb = "chat",
                              .directory = directory,
                              .context = context,
                              .kv_bits = parse_kv_bits(o.kv_bits),
                              .allow_swap = o.allow_swap};
  try {
    out.draft_model = load_draft_model(o.draft, target, out.tokenizer, pool);
  } catch (const Error& e) {
    if (required) throw;
    fmt::print(stderr, "qx chat: going on without the draft model: {}\n", e.what());
  }
  const DrafterOptions options = drafter_options(o.draft, out.draft_model.get(), context);
  if (!options.wanted()) return;
  out.drafter.emplace(options);
  out.settings.drafter = &*out.drafter;
}

// first: what the command line names, rather than what /model does.
std::unique_ptr<ChatModel> open_model(const ChatFlags& o, const std::string& name, ThreadPool& pool,
                                      bool first) {
  const fs::path directory = resolve_model(name);
  std::optional<ChatTemplate> chat_template = ChatTemplate::load(directory);
  if (!chat_template) {
    fail(directory.string(),
         "has no chat template, expected a model made for chats; for others there is qx generate");
  }
  const KvBits kv_bits = parse_kv_bits(o.kv_bits);
  Json identity;
  if (!o.cache_file.empty()) {
    identity = kv_identity(directory, parse_precision(o.precision), kv_bits);
  }
  auto out = std::unique_ptr<ChatModel>(new ChatModel{name,
                                                      std::move(identity),
                                                      Tokenizer::load(directory),
                                                      *std::move(chat_template),
                                                      nullptr,
                                                      nullptr,
                                                      std::nullopt,
                                                      {},
                                                      std::nullopt});
  require_memory("chat", directory, o.context > 0 ? o.context : kChatContext, kv_bits,
                 o.allow_swap);
  out->model = load_model(directory, pool, parse_precision(o.precision), kv_bits);
  for (const std::string& warning : out->model->warnings()) {
    fmt::print(stderr, "qx chat: warning: {}\n", warning);
  }
  const ModelConfig& config = out->model->config();
  if (o.context > config.max_position_embeddings) {
    throw UsageError(fmt::format("--ctx: got {}, expected at most the model's {}", o.context,
                                 config.max_position_embeddings));
  }
  out->settings.max_tokens = o.max_tokens;
  out->settings.sampling = resolve_sampling(o.sampling, config, out->tokenizer);
  out->settings.stop = stop_tokens(o.sampling, config, out->tokenizer);
  out->settings.stop_texts = o.sampling.stop_texts;
  out->settings.template_variables = template_variables(o.template_config, out->tokenizer);
  const std::int64_t context =
      o.context > 0 ? o.context : std::min(kChatContext, config.max_position_embeddings);
  out->session.emplace(*out->model, out->tokenizer, out->chat_template, context);
  add_drafter(o, *out, directory, context, first, pool);
  return out;
}

// What an earlier chat read need not be read again. How many tokens that are.
std::int64_t load_cache(const ChatFlags& o, ChatModel& model) {
  require_kv_target(o.cache_file, true);
  if (!fs::exists(o.cache_file)) return 0;
  const KvFile file(o.cache_file);
  file.require(model.identity, model.model->config());
  return restore_sequence(file, *model.model, model.session->kept());
}

fs::path with_home(const std::string& path) {
  const char* home = std::getenv("HOME");
  return path.starts_with("~/") && home != nullptr ? fs::path(home) / path.substr(2)
                                                   : fs::path(path);
}

fs::path history_path(const ChatFlags& o) {
  if (o.no_history) return {};
  if (!o.history_file.empty()) return o.history_file;
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return fs::path(state) / "qx/chat_history";
  const char* home = std::getenv("HOME");
  return home != nullptr ? fs::path(home) / ".local/state/qx/chat_history" : fs::path();
}

std::string statistics(const Generation& g, bool drafts) {
  const auto per_second = [](std::int64_t count, double seconds) {
    return count > 0 && seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
  };
  const std::int64_t read = g.prompt_tokens - g.reused_tokens;
  return fmt::format("[{} tokens, {:.1f} tokens/s; prompt: {} of {} tokens new, {:.1f} tokens/s]",
                     g.tokens.size(), per_second(g.generation_steps, g.generation_seconds), read,
                     g.prompt_tokens, per_second(read, g.prompt_seconds)) +
         (drafts ? fmt::format(" [drafts: {}]", drafts_text(g)) : "");
}

class Chat {
 public:
  explicit Chat(const ChatFlags& o)
      : o_(o),
        pool_(start_compute(o.compute)),
        model_(open_model(o, o.model, *pool_, true)),
        first_identity_(model_->identity),
        interactive_(::isatty(STDIN_FILENO) && ::isatty(STDOUT_FILENO)),
        signals_(interactive_),
        lines_(interactive_ ? edited_lines(signals_, history_path(o)) : plain_lines(signals_)),
        display_(::isatty(STDOUT_FILENO), colours_wanted()) {}

  void run() {
    if (!o_.cache_file.empty()) {
      const std::int64_t tokens = load_cache(o_, *model_);
      if (tokens > 0) say(fmt::format("{} tokens are there from {}", tokens, o_.cache_file));
    }
    if (!o_.load.empty()) load(o_.load);
    if (o_.system) conversation_.system = o_.system;
    if (interactive_ && !o_.quiet) {
      display_.note(fmt::format("{}, a context of {} tokens; /help lists the commands",
                                model_->name, model_->session->context()));
    }
    while (const std::optional<MessageLines::Message> message = next_message()) {
      if (message->text.find_first_not_of(" \t\r\n") == std::string::npos) continue;
      lines_->remember(message->text);
      try {
        signals_.forget();
        if (!obey(parse_chat_input(*message))) break;
      } catch (const Interrupted&) {  // of /model
        if (signals_.ended()) throw;
        report("stopped");
      } catch (const UsageError& e) {  // of /model
        report(e.what());
      } catch (const Error& e) {
        report(e.what());
      }
    }
    save_cache();
    if (failures_ > 0 && !interactive_) {
      fail("stdin", "{} of its messages and commands failed, as said above", failures_);
    }
  }

 private:
  void report(const std::string& message) {
    display_.end();
    ++failures_;
    display_.note("qx chat: " + message);
  }

  // Nothing at the end. Throws Interrupted when the program was asked to end.
  std::optional<MessageLines::Message> next_message() {
    MessageLines lines;
    for (;;) {
      const TypedLine line = lines_->read(lines.inside() ? "... " : "> ");
      switch (line.kind) {
        case TypedLine::Kind::kText:
          if (auto message = lines.add(line.text)) return message;
          break;
        case TypedLine::Kind::kEnd:
          return lines.finish();
        case TypedLine::Kind::kInterrupted:
          lines.clear();
          signals_.forget();
          if (!o_.quiet) display_.note("(/quit or Ctrl-D ends the program)");
          break;
        case TypedLine::Kind::kAsked:
          throw Interrupted{};
      }
    }
  }

  // False: the program is to end. Every command is a function: clang 14 destroys a temporary that
  // stands before a consteval argument, as fail()'s format is, at the end of the block rather than
  // of the statement, and from a switch also where another case was taken and it was never made.
  bool obey(const ParsedInput& input) {
    switch (input.command) {
      case ChatCommand::kNone:
        ask(input.argument);
        break;
      case ChatCommand::kUnknown:
        refuse_command(input.argument);
      case ChatCommand::kSystem:
        set_system(input.argument);
        break;
      case ChatCommand::kReset:
        reset();
        break;
      case ChatCommand::kSave:
        save(input.argument);
        break;
      case ChatCommand::kLoad:
        load(input.argument);
        break;
      case ChatCommand::kModel:
        change_model(input.argument);
        break;
      case ChatCommand::kTemperature:
        set_temperature(input.argument);
        break;
      case ChatCommand::kHelp:
        fmt::print(stderr, "{}", chat_help());
        break;
      case ChatCommand::kQuit:
        return false;
    }
    return true;
  }

  void say(const std::string& what) const {
    if (!o_.quiet) display_.note("(" + what + ")");
  }

  void ask(const std::string& message) {
    display_.begin(thinking_markers(model_->tokenizer).value_or(ThinkingMarkers{}));
    const ChatReply reply = model_->session->ask(
        conversation_, message, model_->settings,
        [&](const AnswerPiece& piece) { display_.show(piece); },
        [&] { return signals_.stopped_or_ended(); });
    display_.end();
    if (signals_.ended()) throw Interrupted{};
    if (reply.dropped_now > 0) {
      display_.note(
          fmt::format("(the context of {} tokens is full: the model no longer sees the first {} "
                      "turns)",
                      model_->session->context(), reply.dropped));
    }
    const FinishReason reason = reply.generation.finish_reason;
    if (reason == FinishReason::kCancelled) {
      say(reply.kept ? "stopped" : "stopped; the message is not kept");
    } else if (reason == FinishReason::kLength) {
      const auto count = static_cast<std::int64_t>(reply.generation.tokens.size());
      display_.note(count < model_->settings.max_tokens
                        ? "(the answer ends here: the context is full)"
                        : fmt::format("(the answer ends here: --max-tokens {})", count));
    }
    if (!o_.quiet) display_.note(statistics(reply.generation, model_->drafter.has_value()));
  }

  [[noreturn]] static void refuse_command(const std::string& name) {
    fail("/" + name, "is no command; /help lists them, and //text sends /text");
  }

  void reset() {
    conversation_.turns.clear();
    model_->session->restart();
    say("the conversation is empty");
  }

  void set_system(const std::string& text) {
    if (text == "\"\"") {
      conversation_.system.reset();
    } else if (!text.empty()) {
      if (!is_valid_utf8(text)) fail("/system", "got bytes that are not UTF-8, expected text");
      conversation_.system = text;
    }
    fmt::print(stderr, "{}\n",
               conversation_.system ? "system prompt: " + without_controls(*conversation_.system)
                                    : "no system prompt");
  }

  void save(const std::string& argument) const {
    if (argument.empty()) fail("/save", "got no name, expected /save FILE");
    save_conversation(conversation_, model_->name, with_home(argument));
    say(fmt::format("saved {} turns", conversation_.turns.size()));
  }

  void save_cache() {
    if (o_.cache_file.empty()) return;
    if (model_->identity != first_identity_) {
      display_.note(fmt::format("({} was left alone: it is of {}, not of {})", o_.cache_file,
                                o_.model, model_->name));
      return;
    }
    if (model_->session->kept().tokens().empty()) return;
    save_sequence(model_->session->kept(), o_.cache_file,
                  {model_->identity, Json{{"conversation", true}}, model_->name}, true);
  }

  void load(const std::string& argument) {
    if (argument.empty()) fail("/load", "got no name, expected /load FILE");
    conversation_ = load_conversation(with_home(argument));
    model_->session->restart();
    say(fmt::format("loaded {} turns", conversation_.turns.size()));
  }

  void change_model(const std::string& name) {
    if (name.empty()) {
      fmt::print(stderr, "{}\n", without_controls(model_->name));
      return;
    }
    std::unique_ptr<ChatModel> next = open_model(o_, with_home(name).string(), *pool_, false);
    next->settings.sampling.temperature = model_->settings.sampling.temperature;
    model_ = std::move(next);
    say(fmt::format("going on with {}", model_->name));
  }

  void set_temperature(const std::string& text) {
    double& temperature = model_->settings.sampling.temperature;
    if (!text.empty()) {
      double value = 0;
      if (!CLI::detail::lexical_cast(text, value) || !(value >= 0 && value <= 1e6)) {
        fail("/temp", "got '{}', expected a number from 0 to 1e6", text);
      }
      temperature = value;
    }
    fmt::print(stderr, "temperature {}\n", temperature);
  }

  ChatFlags o_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<ChatModel> model_;
  Json first_identity_;  // of the command line's model, whose keys and values the file holds
  bool interactive_;
  ChatSignals signals_;
  std::unique_ptr<LineSource> lines_;
  ChatDisplay display_;
  Conversation conversation_;
  int failures_ = 0;
};

}  // namespace

void add_chat(CLI::App& app) {
  auto o = std::make_shared<ChatFlags>();
  CLI::App* verb = app.add_subcommand("chat", "a conversation with a model");
  verb->add_option("-m,--model", o->model, "model directory or Hub id, with a chat template")
      ->required();
  verb->add_option("--system-prompt", o->system, "a system message before the conversation");
  verb->add_option("--load", o->load, "go on with a conversation that /save wrote");
  verb->add_option(
      "--prompt-cache-file", o->cache_file,
      "load keys and values from this file, where there is one, and save them to it at "
      "the end: what was read then is not read again");
  verb->add_option("--max-tokens", o->max_tokens, "of an answer, at most")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb->add_option("--ctx", o->context,
                   "conversation and answer together (default: 8192, or the model's maximum)")
      ->check(CLI::PositiveNumber);
  add_sampling_options(*verb, o->sampling);
  add_draft_options(*verb, o->draft);
  verb->add_option("--chat-template-config", o->template_config,
                   "further variables of the template: '{\"enable_thinking\": false}'");
  verb->add_option("--history", o->history_file,
                   "where typed lines are kept (default: ~/.local/state/qx/chat_history)");
  verb->add_flag("--no-history", o->no_history, "keep no lines");
  add_precision_option(*verb, o->precision);
  add_kv_bits_option(*verb, o->kv_bits);
  add_compute_options(*verb, o->compute);
  add_memory_option(*verb, o->allow_swap);
  verb->add_flag("--quiet", o->quiet, "answers, warnings and errors alone");
  set_example(*verb, "qx chat -m models/q4-hi --temp 0.7 --top-p 0.9");
  verb->callback([o] { Chat(*o).run(); });
}

}  // namespace qx::cli
