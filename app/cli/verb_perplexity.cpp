// qx perplexity: how well a model predicts a text.
// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/progress.h"
#include "distance/passes.h"
#include "distance/perplexity.h"
#include "distance_options.h"
#include "runs/model_facts.h"
#include "verbs.h"

namespace qx::cli {
namespace {
namespace fs = std::filesystem;

struct PerplexityFlags {
  std::string model;
  DistanceOptions distance;
};

Json result_json(const Perplexity& result, const MeasuredText& text) {
  Json json;
  json["ppl"] = json_of_number(result.ppl);
  json["stderr"] = json_of_number(result.stderr_tokens);
  json["stderr_windows"] = json_of_number(result.stderr_windows);
  json["tokens"] = text.targets();
  json["ctx"] = text.request.rules.ctx;
  json["stride"] = effective_stride(text.request.rules);
  json["loss"] = json_of_number(result.loss.mean);
  json["loss_stderr"] = json_of_number(result.loss.stderr_tokens);
  json["loss_stderr_windows"] = json_of_number(result.loss.stderr_windows);
  json["windows"] = windows_json(text);
  json["text"] = text_json(text);
  return json;
}

void run(const PerplexityFlags& options) {
  const DistanceOptions& o = options.distance;
  const Precision precision = parse_precision(o.precision, kDistancePrecision);
  const TextRequest request = make_text_request(o);
  const fs::path directory = resolve_model(options.model);
  require_positions(request, directory);
  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  const Tokenizer tokenizer = Tokenizer::load(directory);
  const std::optional<ChatTemplate> chat = ChatTemplate::load(directory);
  const MeasuredText text = load_text(request, tokenizer, chat ? &*chat : nullptr);
  require_distance_memory("perplexity", {&directory, 1}, {}, text, 0, o);
  const ModelFacts facts = measure_model(directory);
  const std::unique_ptr<Model> model =
      load_model(directory, *pool, precision, parse_kv_bits(o.kv_bits));

  Progress progress("perplexity", static_cast<std::uint64_t>(count_reads(text.windows)), "tokens",
                    o.out.quiet);
  const std::vector<double> losses = target_losses(
      *model, text, *pool, kPassTokens,
      [&](std::int64_t tokens) { progress.advance(static_cast<std::uint64_t>(tokens)); });
  const Perplexity result = perplexity_of(losses, text.counts);
  if (o.out.json) {
    Json json = result_json(result, text);
    json["model"] = model_facts_json(facts);
    put_run_facts(json, o, *pool);
    fmt::print("{}\n", dump_json(json, 2, false, false));
    return;
  }
  fmt::print(
      "perplexity {} ± {} (± {} with windows as the unit)\n"
      "model      {} ({:.2f} bits a weight)\n{}",
      number_text(result.ppl, 4), number_text(result.stderr_tokens, 4),
      number_text(result.stderr_windows, 4), facts.path.string(), facts.bits_per_weight,
      run_facts_text(o, *pool, text));
}

}  // namespace

void add_perplexity(CLI::App& app) {
  auto o = std::make_shared<PerplexityFlags>();
  CLI::App* verb = app.add_subcommand(
      "perplexity", "perplexity of a text, by llama.cpp's, mlx-lm's or a sliding window's rule");
  verb->add_option("-m,--model", o->model, "model directory or Hub id")->required();
  add_distance_options(*verb, o->distance);
  set_example(*verb, "qx perplexity -m models/q4-hi --text wikitext-2-raw-test.txt --ctx 512");
  verb->callback([o] { run(*o); });
}

}  // namespace qx::cli
