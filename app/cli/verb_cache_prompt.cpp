// qx cache-prompt: reads a text once and keeps its keys and values in a file, as mlx_lm.cache_prompt does.
// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "generate/kept_file.h"
#include "io/json.h"
#include "kernels/api.h"
#include "options.h"
#include "prompt_text.h"
#include "sampling_options.h"
#include "text/chat_template.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct CachePromptFlags {
  std::string model, prompt, output, precision, template_config;
  std::optional<std::string> system_prompt;
  int kv_bits = 32;
  bool ignore_template = false, allow_swap = false, force = false;
  OutputOptions out;
  ComputeOptions compute;
};

struct CachedText {
  std::vector<TokenId> tokens;
  bool chat = false;
};

// With a chat template the text is the beginning of the user's message.
CachedText encode_text(const CachePromptFlags& o, const std::filesystem::path& directory,
                       const Tokenizer& tokenizer) {
  const std::string prompt = read_prompt(o.prompt);
  std::optional<ChatTemplate> chat;
  if (!o.ignore_template) chat = ChatTemplate::load(directory);
  if (!chat) {
    if (o.system_prompt || !o.template_config.empty()) {
      throw UsageError(
          fmt::format("--system-prompt and --chat-template-config need a chat template, {}",
                      o.ignore_template ? "which --ignore-chat-template leaves out"
                                        : "and " + directory.string() + " has none"));
    }
    return {encode_bare(prompt, tokenizer), false};
  }
  Json messages = Json::array();
  if (o.system_prompt) messages.push_back({{"role", "system"}, {"content", *o.system_prompt}});
  messages.push_back({{"role", "user"}, {"content", prompt}});
  ChatOptions options;
  options.continue_final_message = true;
  options.variables = template_variables(o.template_config, tokenizer);
  return {tokenizer.encode(chat->render(messages, options), SpecialTokens::kNone), true};
}

void run(const CachePromptFlags& o) {
  using Clock = std::chrono::steady_clock;
  const Precision precision = parse_precision(o.precision);
  const KvBits kv_bits = parse_kv_bits(o.kv_bits);
  require_kv_target(o.output, o.force);
  const std::filesystem::path directory = resolve_model(o.model);
  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  const Tokenizer tokenizer = Tokenizer::load(directory);
  const CachedText text = encode_text(o, directory, tokenizer);
  const auto count = static_cast<std::int64_t>(text.tokens.size());
  const std::int64_t positions = load_model_config(directory).max_position_embeddings;
  if (count < 1 || count > positions) {
    fail("prompt", "got {} tokens, expected 1 to {} (the context of the model)", count, positions);
  }
  require_memory("cache-prompt", directory, count, kv_bits, o.allow_swap);
  KvFileFacts facts{kv_identity(directory, precision, kv_bits), Json{{"chat", text.chat}}, o.model};
  const std::unique_ptr<Model> model = load_model(directory, *pool, precision, kv_bits);
  for (const std::string& warning : model->warnings()) {
    fmt::print(stderr, "qx cache-prompt: warning: {}\n", warning);
  }

  const auto start = Clock::now();
  KeptSequence kept(*model, count);
  {
    Progress progress("prompt", static_cast<std::uint64_t>(count), "tokens", o.out.quiet);
    for (std::int64_t at = 0; at < count; at += kPromptPiece) {
      check_interrupt();
      const std::int64_t piece = std::min(kPromptPiece, count - at);
      kept.append(std::span(text.tokens)
                      .subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(piece)),
                  false);
      progress.advance(static_cast<std::uint64_t>(piece));
    }
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  save_sequence(kept, o.output, facts, o.force);
  const auto bytes = static_cast<std::int64_t>(std::filesystem::file_size(o.output));
  const double speed = static_cast<double>(count) / seconds;
  if (o.out.json) {
    const Json document = {{"file", o.output},
                           {"bytes", bytes},
                           {"prompt_tokens", count},
                           {"prompt_tps", speed},
                           {"peak_memory_bytes", peak_memory_bytes()},
                           {"model", o.model},
                           {"precision", precision_name(precision)},
                           {"kv_bits", o.kv_bits},
                           {"isa", kernels().name},
                           {"threads", pool->threads()}};
    fmt::print("{}\n", document.dump());
  } else if (!o.out.quiet) {
    fmt::print(stderr, "{}: {} tokens, {}, {:.1f} tokens-per-sec\n", o.output, count,
               bytes_text(bytes), speed);
  }
}

}  // namespace

void add_cache_prompt(CLI::App& app) {
  auto o = std::make_shared<CachePromptFlags>();
  CLI::App* verb = app.add_subcommand(
      "cache-prompt", "read a long text once, for generate --prompt-cache-file to go on from");
  verb->add_option("-m,--model", o->model, "model directory or Hub id")->required();
  verb->add_option("-p,--prompt", o->prompt,
                   "the text, '-' for stdin; \\n and \\t mean newline and tab")
      ->required();
  verb->add_option("-o,--output,--prompt-cache-file", o->output, "the file to write")->required();
  verb->add_flag("--force", o->force, "replace an existing prompt cache");
  verb->add_option("--system-prompt", o->system_prompt, "a system message before the text");
  verb->add_flag("--ignore-chat-template", o->ignore_template,
                 "read the bare text, even when the model has a chat template");
  verb->add_option("--chat-template-config", o->template_config,
                   "further variables of the template: '{\"enable_thinking\": false}'");
  add_precision_option(*verb, o->precision);
  add_kv_bits_option(*verb, o->kv_bits);
  add_compute_options(*verb, o->compute);
  add_memory_option(*verb, o->allow_swap);
  add_output_options(*verb, o->out);
  set_example(*verb, "qx cache-prompt -m models/q4-hi -p - -o report.safetensors < report.txt");
  verb->callback([o] { run(*o); });
}

}  // namespace qx::cli
