// qx generate: text from a prompt, as mlx_lm.generate does it.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>

#include "base/error.h"
#include "draft_options.h"
#include "generate/generate.h"
#include "generate/kept_file.h"
#include "generate/stop_text.h"
#include "io/json.h"
#include "kernels/api.h"
#include "options.h"
#include "prompt_text.h"
#include "sampling_options.h"
#include "text/chat_template.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct GenerateFlags {
  std::string model, prompt, precision, template_config, json_schema, cache_file;
  std::optional<std::string> system_prompt, prefill;
  int kv_bits = 32;
  bool ignore_template = false, allow_swap = false;
  std::int64_t logprobs = -1;  // negative: not asked for
  GenerateOptions generate;
  SamplingOptions sampling;
  DraftOptions draft;
  OutputOptions out;
  ComputeOptions compute;
};

std::string render_prompt(const GenerateFlags& o, const ChatTemplate& chat,
                          const Tokenizer& tokenizer, const std::string& prompt) {
  Json messages = Json::array();
  if (o.system_prompt) messages.push_back({{"role", "system"}, {"content", *o.system_prompt}});
  messages.push_back({{"role", "user"}, {"content", prompt}});
  if (o.prefill) messages.push_back({{"role", "assistant"}, {"content", *o.prefill}});
  ChatOptions options;
  options.add_generation_prompt = !o.prefill;
  options.continue_final_message = o.prefill.has_value();
  options.variables = template_variables(o.template_config, tokenizer);
  // A document has no room for thoughts, unless the user says that the template should ask for
  // them.
  const bool says = o.template_config.find("enable_thinking") != std::string::npos;
  if (!o.json_schema.empty() && !says) options.variables["enable_thinking"] = false;
  return chat.render(messages, options);
}

std::vector<TokenId> encode_prompt(const GenerateFlags& o, const std::filesystem::path& directory,
                                   const Tokenizer& tokenizer) {
  const std::string prompt = read_prompt(o.prompt);
  std::optional<ChatTemplate> chat;
  if (!o.ignore_template) chat = ChatTemplate::load(directory);
  if (!chat) {
    if (o.system_prompt || o.prefill || !o.template_config.empty()) {
      throw UsageError(fmt::format(
          "--system-prompt, --prefill-response and --chat-template-config need a chat template, {}",
          o.ignore_template ? "which --ignore-chat-template leaves out"
                            : "and " + directory.string() + " has none"));
    }
    return encode_bare(prompt, tokenizer);
  }
  return tokenizer.encode(render_prompt(o, *chat, tokenizer, prompt), SpecialTokens::kNone);
}

// The prompt goes on from the text that qx cache-prompt read. As in mlx-lm: of the rendered template what
// stands before the prompt is taken to be there.
std::vector<TokenId> continue_cached(const GenerateFlags& o, const std::filesystem::path& directory,
                                     const Tokenizer& tokenizer, const KvFile& cache) {
  const std::string prompt = read_prompt(o.prompt);
  std::vector<TokenId> tokens = cache.only_sequence().tokens;
  std::string text = prompt;
  const Json& was_chat = json_member(cache.notes(), "chat");
  if (was_chat == true && !o.ignore_template) {
    const std::optional<ChatTemplate> chat = ChatTemplate::load(directory);
    if (!chat)
      fail(directory.string(), "has no chat template, expected the one of {}", o.cache_file);
    constexpr const char* kQuery = "<query>";
    const std::size_t at = render_prompt(o, *chat, tokenizer, kQuery).find(kQuery);
    const std::string whole = render_prompt(o, *chat, tokenizer, prompt);
    if (at == std::string::npos || at > whole.size()) {
      fail(directory.string(),
           "its chat template does not show the prompt as it is, as going on from "
           "{} needs it",
           o.cache_file);
    }
    text = whole.substr(at);
  } else if (o.prefill || !o.template_config.empty()) {
    throw UsageError(
        "--prefill-response and --chat-template-config need a chat template, expected a "
        "--prompt-cache-file that was made with one");
  }
  const std::vector<TokenId> more = tokenizer.encode(text, SpecialTokens::kNone);
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens;
}

// The file's contents, when they are those of this model and these settings. Null: none is asked for.
std::unique_ptr<KvFile> open_cache(const GenerateFlags& o, const std::filesystem::path& directory) {
  if (o.cache_file.empty()) return nullptr;
  if (o.system_prompt) {
    throw UsageError(
        "--system-prompt and --prompt-cache-file: expected one of them; a system prompt is read by "
        "qx cache-prompt");
  }
  auto cache = std::make_unique<KvFile>(o.cache_file);
  cache->require(kv_identity(directory, parse_precision(o.precision), parse_kv_bits(o.kv_bits)),
                 load_model_config(directory));
  return cache;
}

double per_second(std::int64_t count, double seconds) {
  return count > 0 && seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
}

Json logprobs_json(const std::vector<StepLogprobs>& steps) {
  Json out = Json::array();
  for (const StepLogprobs& step : steps) {
    Json top = Json::array();
    for (const auto& [id, logprob] : step.top) top.push_back(Json::array({id, logprob}));
    out.push_back({{"id", step.id}, {"logprob", step.logprob}, {"top", std::move(top)}});
  }
  return out;
}

Json result_json(const GenerateFlags& o, const Model& model, const Generation& g,
                 const std::string& text) {
  Json document = {{"text", text},
                   {"tokens", g.tokens},
                   {"finish_reason", std::string(finish_reason_name(g.finish_reason))},
                   {"prompt_tokens", g.prompt_tokens},
                   {"reused_tokens", g.reused_tokens},
                   {"generation_tokens", g.tokens.size()},
                   {"prompt_tps", per_second(g.prompt_tokens - g.reused_tokens, g.prompt_seconds)},
                   {"generation_tps", per_second(g.generation_steps, g.generation_seconds)},
                   {"peak_memory_bytes", peak_memory_bytes()},
                   {"model", o.model},
                   {"backend", model.backend()},
                   {"precision", precision_name(parse_precision(o.precision))},
                   {"kv_bits", o.kv_bits},
                   {"isa", kernels().name},
                   {"seed", o.sampling.sampler.seed}};
  if (o.draft.wanted()) document["drafts"] = drafts_json(o.draft, g.drafts);
  if (o.logprobs >= 0) document["logprobs"] = logprobs_json(g.logprobs);
  return document;
}

// What --json-schema asks for. The file is read before the model is, so that a fault in it shows at
// once.
std::shared_ptr<SchemaGrammar> read_schema(const GenerateFlags& o) {
  if (o.json_schema.empty()) return nullptr;
  if (o.prefill) {
    throw UsageError(
        "--json-schema and --prefill-response: expected one of them; the schema is for a whole "
        "answer");
  }
  return std::make_shared<SchemaGrammar>(read_json_file(o.json_schema, std::size_t{16} << 20),
                                         o.json_schema);
}

void print_statistics(const GenerateFlags& o, const Generation& g, int threads) {
  const std::string reused =
      g.reused_tokens > 0 ? fmt::format(" ({} of them from the file)", g.reused_tokens) : "";
  fmt::print(stderr, "Prompt: {} tokens{}, {:.1f} tokens-per-sec\n", g.prompt_tokens, reused,
             per_second(g.prompt_tokens - g.reused_tokens, g.prompt_seconds));
  fmt::print(stderr, "Generation: {} tokens, {:.1f} tokens-per-sec\n", g.tokens.size(),
             per_second(g.generation_steps, g.generation_seconds));
  if (o.draft.wanted()) fmt::print(stderr, "Drafts: {}\n", drafts_text(g));
  fmt::print(stderr, "Peak memory: {:.3f} GB\n", static_cast<double>(peak_memory_bytes()) / 1e9);
  fmt::print(stderr, "Kernels: {}, {} threads, precision {}, {}-bit keys and values\n",
             kernels().name, threads, precision_name(parse_precision(o.precision)), o.kv_bits);
}

// Shows the text as it comes, unless it is to be part of a document, and gives it whole.
Generation write_text(GenerateFlags& o, Model& model, KeptSequence& kept,
                      const Tokenizer& tokenizer, std::span<const TokenId> prompt,
                      std::string& text) {
  StreamDetokenizer detokenizer(tokenizer, DecodeSpecial::kKeep);
  const auto emit = [&](const std::string& piece) {
    text += piece;
    if (o.out.json || piece.empty()) return;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  StopText stop(o.sampling.stop_texts);
  o.generate.finished = [&] { return stop.stopped(); };
  Generation g = generate(model, kept, prompt, o.generate,
                          [&](TokenId id) { emit(stop.push(detokenizer.push(id))); });
  emit(stop.push(detokenizer.finish()));
  emit(stop.finish());
  return g;
}

void run(GenerateFlags o) {
  const Precision precision = parse_precision(o.precision);
  const std::shared_ptr<SchemaGrammar> schema = read_schema(o);
  const std::filesystem::path directory = resolve_model(o.model);
  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  const Tokenizer tokenizer = Tokenizer::load(directory);
  const std::unique_ptr<KvFile> cache = open_cache(o, directory);
  const std::vector<TokenId> prompt = cache != nullptr
                                          ? continue_cached(o, directory, tokenizer, *cache)
                                          : encode_prompt(o, directory, tokenizer);
  const KvBits kv_bits = parse_kv_bits(o.kv_bits);
  const auto prompt_tokens = static_cast<std::int64_t>(prompt.size());
  const std::int64_t positions =
      std::min(o.generate.max_tokens, INT64_MAX - prompt_tokens) + prompt_tokens;
  require_memory("generate", directory,
                 o.generate.context > 0 ? std::min(positions, o.generate.context) : positions,
                 kv_bits, o.allow_swap);
  const std::unique_ptr<Model> model = load_model(directory, *pool, precision, kv_bits);
  for (const std::string& warning : model->warnings()) {
    fmt::print(stderr, "qx generate: warning: {}\n", warning);
  }
  const ModelConfig& config = model->config();
  if (o.generate.context > config.max_position_embeddings) {
    throw UsageError(fmt::format("--ctx: got {}, expected at most the model's {}",
                                 o.generate.context, config.max_position_embeddings));
  }
  o.generate.stop = stop_tokens(o.sampling, config, tokenizer);
  o.generate.sampling = resolve_sampling(o.sampling, config, tokenizer);
  o.generate.quiet = o.out.quiet;
  o.generate.report_logprobs = o.logprobs >= 0;
  o.generate.top_logprobs = std::max<std::int64_t>(0, o.logprobs);

  const DraftTarget target = {
      .verb = "generate",
      .directory = directory,
      .context = std::min(
          positions, o.generate.context > 0 ? o.generate.context : config.max_position_embeddings),
      .kv_bits = kv_bits,
      .allow_swap = o.allow_swap};
  const auto draft_model = load_draft_model(o.draft, target, tokenizer, *pool);
  std::optional<Drafter> drafter;
  if (o.draft.wanted()) {
    o.generate.drafter =
        &drafter.emplace(drafter_options(o.draft, draft_model.get(), target.context));
  }
  std::optional<TokenConstraint> constraint;
  if (schema != nullptr) {
    constraint.emplace(schema, std::make_shared<const VocabularyTree>(tokenizer), o.generate.stop);
    o.generate.constraint = &*constraint;
  }
  std::string text;
  KeptSequence kept(*model, target.context);
  if (cache != nullptr) restore_sequence(*cache, *model, kept);
  const Generation g = write_text(o, *model, kept, tokenizer, prompt, text);
  if (constraint && !constraint->complete()) {
    fmt::print(stderr,
               "qx generate: warning: the text ended by '{}' before it was a whole document; raise "
               "--max-tokens\n",
               finish_reason_name(g.finish_reason));
  }
  if (o.out.json) {
    Json document = result_json(o, *model, g, text);
    document["threads"] = pool->threads();
    fmt::print("{}\n", document.dump());
    return;
  }
  fmt::print("\n");
  std::fflush(stdout);
  if (!o.out.quiet) print_statistics(o, g, pool->threads());
}

}  // namespace

void add_generate(CLI::App& app) {
  auto o = std::make_shared<GenerateFlags>();
  CLI::App* verb = app.add_subcommand("generate", "text from a prompt");
  verb->add_option("-m,--model", o->model, "model directory or Hub id")->required();
  verb->add_option("-p,--prompt", o->prompt,
                   "the prompt, '-' for stdin; \\n and \\t mean newline and tab")
      ->required();
  verb->add_option("--max-tokens", o->generate.max_tokens, "generate at most this many tokens")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  add_sampling_options(*verb, o->sampling);
  add_draft_options(*verb, o->draft);
  verb->add_option("--system-prompt", o->system_prompt, "a system message before the prompt");
  verb->add_option("--prefill-response", o->prefill, "how the answer begins");
  verb->add_flag("--ignore-chat-template", o->ignore_template,
                 "give the model the bare prompt, even when it has a chat template");
  verb->add_option("--chat-template-config", o->template_config,
                   "further variables of the template: '{\"enable_thinking\": false}'");
  verb->add_option("--prompt-cache-file", o->cache_file,
                   "go on from the text that qx cache-prompt read into this file");
  verb->add_option("--json-schema", o->json_schema,
                   "a file: the answer is one JSON document that this schema takes");
  verb->add_option("--ctx", o->generate.context,
                   "prompt and generated tokens together (default: the model's maximum)")
      ->check(CLI::PositiveNumber);
  add_precision_option(*verb, o->precision);
  add_kv_bits_option(*verb, o->kv_bits);
  add_compute_options(*verb, o->compute);
  add_memory_option(*verb, o->allow_swap);
  add_output_options(*verb, o->out);
  verb->add_option("--logprobs", o->logprobs,
                   "with --json: log-probability of each token and of the K best")
      ->check(CLI::NonNegativeNumber)
      ->needs(verb->get_option("--json"));
  set_example(*verb, "qx generate -m models/q4-hi -p \"What is the capital of France?\"");
  verb->callback([o] { run(*o); });
}

}  // namespace qx::cli
