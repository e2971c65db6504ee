// qx serve: an OpenAI-compatible server over models of this machine.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>

#include "base/byte_size.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "draft_options.h"
#include "eval/named_models.h"
#include "generate/kept_file.h"
#include "io/json.h"
#include "kernels/api.h"
#include "model/memory_need.h"
#include "options.h"
#include "serve/service.h"
#include "verbs.h"

namespace qx::cli {
namespace {

using Seconds = std::chrono::duration<double>;

struct ServeFlags {
  std::vector<std::string> models;
  std::string host = "127.0.0.1", precision, key_file, kv_memory, prompt_cache = "256MB";
  std::string cache_file;
  std::uint16_t port = 8080;
  std::int64_t context = kDefaultContext, parallel = 32, waiting = 128, chat_tokens = 1024;
  std::int64_t connections = 256, body_mb = 8;
  double timeout = 600, grace = 10;
  int kv_bits = 32;
  bool allow_swap = false;
  std::vector<std::string> cors, hosts;
  SamplerOptions sampling = {.temperature = 1};
  DraftOptions draft;
  std::int64_t draft_texts = 2;
  OutputOptions out;
  ComputeOptions compute;
};

// The first signal ends what is at work in order, a second one ends the process. Not the handler of
// other verbs, which the forward pass heeds too.
volatile sig_atomic_t g_stop = 0;

// A line for whoever reads stderr. What a full disk or pipe does not take is lost: no reason for a
// server to end.
void say(const std::string& line) {
  std::fputs((line + "\n").c_str(), stderr);
}

void on_stop(int) {
  if (g_stop != 0) ::_exit(130);
  g_stop = 1;
}

void install_stop_handler() {
  struct sigaction action {};
  action.sa_handler = on_stop;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

std::int64_t position_bytes(const ModelConfig& config, KvBits kv_bits) {
  return memory_needs(config, 0, 1, static_cast<int>(kv_bits)).cache;
}

// Contexts at once: what --kv-memory says; else all that could be wanted, but no more than half of
// what this machine has to spare.
EngineLimits plan_limits(const ServeFlags& o, const std::filesystem::path& directory,
                         KvBits kv_bits, std::int64_t share) {
  const ModelConfig config = load_model_config(directory);
  EngineLimits limits;
  limits.context = std::min(o.context, config.max_position_embeddings);
  limits.parallel = o.parallel;
  limits.waiting = o.waiting;
  limits.position_bytes = position_bytes(config, kv_bits);
  limits.prefix_bytes = parse_bytes(o.prompt_cache, "--prompt-cache") / share;
  std::int64_t bytes = 0;
  if (!o.kv_memory.empty()) {
    bytes = parse_bytes(o.kv_memory, "--kv-memory") / share;
  } else {
    const MachineMemory machine = limited_memory();
    const std::int64_t spare =
        std::max<std::int64_t>(0, machine.available - weight_file_bytes(directory));
    bytes = machine.physical > 0 ? spare / (2 * share) : INT64_MAX;
  }
  // A context ends in a block of its own for each text.
  const std::int64_t longest = limits.context + 2 * kPrefixBlock;
  const std::int64_t fitting = bytes / std::max<std::int64_t>(limits.position_bytes, 1);
  if (!o.kv_memory.empty() && fitting < longest) {
    throw UsageError(fmt::format(
        "--kv-memory: got {}, expected at least {} for one context of {} "
        "tokens (--ctx)",
        bytes_text(bytes), bytes_text(longest * limits.position_bytes), limits.context));
  }
  limits.positions = std::clamp(fitting, longest, longest * limits.parallel);
  const std::string warning = check_memory(
      directory, config,
      limits.positions + limits.prefix_bytes / std::max<std::int64_t>(limits.position_bytes, 1),
      kv_bits, o.allow_swap);
  if (!warning.empty()) say("qx serve: warning: " + warning);
  return limits;
}

// One draft model for all that is served: engines take turns.
void add_drafts(const ServeFlags& o, const ServedModel& model,
                const std::filesystem::path& directory, ThreadPool& pool,
                std::unique_ptr<Model>& draft_model, EngineLimits& limits) {
  const DraftTarget target = {.verb = "serve",
                              .directory = directory,
                              .context = limits.context,
                              .texts = o.draft_texts,
                              .kv_bits = parse_kv_bits(o.kv_bits),
                              .allow_swap = o.allow_swap};
  if (draft_model == nullptr) {
    draft_model = load_draft_model(o.draft, target, model.tokenizer, pool);
  } else {
    check_draft_model(o.draft, target, model.tokenizer);
  }
  limits.drafts = drafter_options(o.draft, draft_model.get(), limits.context);
  limits.draft_texts = o.draft_texts;
}

std::vector<std::unique_ptr<ServedModel>> load_models(const ServeFlags& o, ThreadPool& pool,
                                                      ComputeTurn& turn,
                                                      std::unique_ptr<Model>& draft_model) {
  const Precision precision = parse_precision(o.precision);
  const KvBits kv_bits = parse_kv_bits(o.kv_bits);
  std::vector<std::unique_ptr<ServedModel>> models;
  const std::vector<NamedModel> named = parse_named_models(o.models);
  for (const NamedModel& one : named) {
    EngineLimits limits =
        plan_limits(o, one.directory, kv_bits, static_cast<std::int64_t>(named.size()));
    auto model = std::make_unique<ServedModel>(one.name, one.directory, pool, precision, kv_bits);
    for (const std::string& warning : model->model->warnings()) {
      say("qx serve: warning: " + warning);
    }
    if (o.sampling.top_k >= model->model->config().vocab_size) {
      throw UsageError(fmt::format("--top-k: got {}, expected less than the {} tokens of {}",
                                   o.sampling.top_k, model->model->config().vocab_size, one.name));
    }
    add_drafts(o, *model, one.directory, pool, draft_model, limits);
    model->start(pool, turn, limits);
    models.push_back(std::move(model));
  }
  return models;
}

// The file that keeps the tree of prefixes from one server to the next.
struct PrefixFile {
  std::string path;
  KvFileFacts facts;
};

void require_prefix_file(const ServeFlags& o) {
  if (o.cache_file.empty()) return;
  if (o.models.size() > 1) {
    throw UsageError(fmt::format(
        "--prompt-cache-file: got {} models, expected one; each needs a file of its own",
        o.models.size()));
  }
  require_kv_target(o.cache_file, true);
}

// Loads the file, where there is one already.
PrefixFile open_prefix_file(const ServeFlags& o, ServedModel& model) {
  const std::filesystem::path directory = parse_named_models(o.models).front().directory;
  PrefixFile out{o.cache_file,
                 {kv_identity(directory, parse_precision(o.precision), parse_kv_bits(o.kv_bits)),
                  Json{{"server", true}}, directory.string()}};
  if (!std::filesystem::exists(o.cache_file)) return out;
  const KvFile file(o.cache_file);
  file.require(out.facts.identity, model.model->config());
  const std::int64_t tokens = model.engine->load_prefixes(file);
  if (!o.out.quiet) say(fmt::format("Prompt cache: {} tokens from {}", tokens, o.cache_file));
  return out;
}

// Names under which pages of this machine may call a server that only this machine reaches.
std::vector<std::string> known_hosts(const ServeFlags& o, const HttpServer& server) {
  // Whoever has a key, or may reach the server from elsewhere, comes under any name.
  if (!server.loopback() || !o.key_file.empty()) return {};
  std::vector<std::string> hosts = {"localhost", "127.0.0.1", "[::1]", o.host};
  hosts.insert(hosts.end(), o.hosts.begin(), o.hosts.end());
  return hosts;
}

void announce(const ServeFlags& o, const HttpServer& server, const std::vector<std::string>& names,
              int threads) {
  const std::string address = server.address();
  const std::string url = fmt::format(
      "http://{}:{}", address.find(':') != std::string::npos ? "[" + address + "]" : address,
      server.port());
  if (o.out.json) {
    const Json document = {{"url", url},
                           {"host", address},
                           {"port", server.port()},
                           {"models", names},
                           {"precision", precision_name(parse_precision(o.precision))},
                           {"kv_bits", o.kv_bits},
                           {"isa", kernels().name},
                           {"threads", threads}};
    fmt::print("{}\n", document.dump());
  } else {
    fmt::print("listening on {}\n", url);
  }
  std::fflush(stdout);
  if (o.out.quiet) return;
  say(fmt::format("Models: {}\nKernels: {}, {} threads, precision {}, {}-bit keys and values",
                  fmt::join(names, ", "), kernels().name, threads,
                  precision_name(parse_precision(o.precision)), o.kv_bits));
  if (!server.loopback() && o.key_file.empty()) {
    say("qx serve: warning: everybody who reaches this machine may use this server; "
        "--api-key-file asks for a key");
  }
}

// Until a signal; then until every answer has ended, but no longer than the time of grace.
void serve(const ServeFlags& o, HttpServer& server, ServeService& service) {
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> stopped;
  bool aborted = false;
  server.run(service, [&] {
    if (g_stop == 0) return;
    const auto now = Clock::now();
    if (!stopped) {
      stopped = now;
      if (!o.out.quiet) say("qx serve: ending the answers at work");
      service.drain();
      server.drain();
    }
    const double seconds = Seconds(now - *stopped).count();
    if (seconds > o.grace && !aborted) {
      aborted = true;
      service.abort();
    }
    // Whoever has not read its last words by now does not want them.
    if (seconds > o.grace + 5) server.close();
  });
}

void run(const ServeFlags& o) {
  require_prefix_file(o);
  const ApiKeys keys = o.key_file.empty() ? ApiKeys() : ApiKeys::load(o.key_file);
  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  ComputeTurn turn;
  ServiceOptions options;
  options.sampling = o.sampling;
  options.chat_tokens = o.chat_tokens;
  options.request_time = std::chrono::milliseconds(static_cast<std::int64_t>(o.timeout * 1000));
  options.keys = keys;
  options.cors = o.cors;
  options.in_flight = o.parallel + o.waiting;
  if (!o.out.quiet) options.log = say;
  ServerLimits limits;
  limits.connections = static_cast<std::size_t>(o.connections);
  limits.body_bytes = static_cast<std::size_t>(o.body_mb) << 20;

  // A port that is taken is found before the models load.
  HttpServer server(o.host, o.port, limits);
  options.hosts = known_hosts(o, server);
  std::unique_ptr<Model> draft_model;
  std::vector<std::unique_ptr<ServedModel>> models = load_models(o, *pool, turn, draft_model);
  ServeEngine& first_engine = *models.front()->engine;
  std::optional<PrefixFile> prefixes;
  if (!o.cache_file.empty()) prefixes = open_prefix_file(o, *models.front());
  ServeService service(std::move(models), std::move(options));
  install_stop_handler();
  if (interrupt_requested()) throw Interrupted{};
  announce(o, server, service.model_names(), pool->threads());
  serve(o, server, service);
  server.close();
  service.stop();
  if (prefixes) first_engine.save_prefixes(prefixes->path, prefixes->facts);
  throw Interrupted{"every answer was ended"};
}

void add_sampling_options(CLI::App& verb, SamplerOptions& s) {
  verb.add_option("--temp", s.temperature, "temperature of requests that do not say")
      ->capture_default_str()
      ->check(number_in(0, 100));
  verb.add_option("--top-p", s.top_p, "top_p of requests that do not say")
      ->capture_default_str()
      ->check(number_in(0, 1));
  verb.add_option("--min-p", s.min_p, "min_p of requests that do not say")
      ->capture_default_str()
      ->check(number_in(0, 1));
  verb.add_option("--top-k", s.top_k, "top_k of requests that do not say; 0 keeps all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
}

void add_limit_options(CLI::App& verb, ServeFlags& o) {
  verb.add_option("--ctx", o.context, "prompt and answer of a request together, in tokens")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb.add_option("--max-tokens", o.chat_tokens, "max_tokens of chats that do not say")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb.add_option("--parallel", o.parallel, "texts made at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  verb.add_option("--queue", o.waiting, "requests that may wait; beyond, status 429")
      ->capture_default_str()
      ->check(CLI::Range(0, 100000));
  verb.add_option("--kv-memory", o.kv_memory,
                  "keys and values of all texts made at once, as 4GB (default: as much as "
                  "--parallel texts could want, at most half of the memory that is free)");
  verb.add_option("--prompt-cache", o.prompt_cache,
                  "keys and values kept for later prompts that begin alike; 0MB: none")
      ->capture_default_str();
  verb.add_option(
      "--prompt-cache-file", o.cache_file,
      "the prompt cache is loaded from this file, where there is one, and saved to it at "
      "the end; with one model");
  verb.add_option("--timeout", o.timeout, "seconds for a request, waiting included")
      ->capture_default_str()
      ->check(number_in(0.1, 1e6));
  verb.add_option("--grace", o.grace, "seconds for answers at work when the server is to stop")
      ->capture_default_str()
      ->check(number_in(0, 1e6));
  verb.add_option("--connections", o.connections, "connections at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 60000));
  verb.add_option("--max-body", o.body_mb, "megabytes (MiB) of a request")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
}

}  // namespace

void add_serve(CLI::App& app) {
  auto o = std::make_shared<ServeFlags>();
  CLI::App* verb = app.add_subcommand("serve", "an OpenAI-compatible server");
  verb->add_option("-m,--model", o->models,
                   "model directory or Hub id, or NAME=DIR; repeatable. Requests choose by name, "
                   "the first serves those that name none")
      ->required()
      ->take_all();
  verb->add_option("--host", o->host, "the address to listen at; 0.0.0.0: every one of IPv4")
      ->capture_default_str();
  verb->add_option("--port", o->port, "the port; 0: any that is free")->capture_default_str();
  verb->add_option("--api-key-file", o->key_file,
                   "file of keys, one a line, of which requests need one");
  verb->add_option("--cors", o->cors,
                   "origin of pages that may ask, as https://example.org, or '*'")
      ->take_all();
  verb->add_option("--allow-host", o->hosts,
                   "further name under which clients may call a server of this machine alone")
      ->take_all();
  add_limit_options(*verb, *o);
  add_sampling_options(*verb, o->sampling);
  add_draft_options(*verb, o->draft);
  verb->add_option("--draft-texts", o->draft_texts,
                   "no guesses while more texts than this are made at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  add_precision_option(*verb, o->precision);
  add_kv_bits_option(*verb, o->kv_bits);
  add_compute_options(*verb, o->compute);
  add_memory_option(*verb, o->allow_swap);
  add_output_options(*verb, o->out);
  set_example(*verb, "qx serve -m models/q4-hi --port 8080");
  verb->callback([o] { run(*o); });
}

}  // namespace qx::cli
