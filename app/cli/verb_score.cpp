// qx score: log-likelihoods of (context, continuation) requests, one JSON line each.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>

#include "base/error.h"
#include "eval/score_requests.h"
#include "io/staged.h"
#include "kernels/api.h"
#include "options.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct ScoreFlags {
  std::string model, requests, output, precision;
  int kv_bits = 32;
  bool force = false, allow_swap = false;
  OutputOptions out;
  ComputeOptions compute;
};

void run(const ScoreFlags& o) {
  const Precision precision = parse_precision(o.precision);
  const std::filesystem::path directory = resolve_model(o.model);
  const bool from_stdin = o.requests == "-";
  std::ifstream file;
  if (!from_stdin) {
    file.open(o.requests, std::ios::binary);
    if (!file || std::filesystem::is_directory(o.requests)) {
      fail(o.requests, "cannot be read, expected a file of JSON lines");
    }
  }
  if (!o.output.empty()) require_absent(o.output, o.force);
  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  const Tokenizer tokenizer = Tokenizer::load(directory);
  const KvBits kv_bits = parse_kv_bits(o.kv_bits);
  require_memory("score", directory, kDefaultContext, kv_bits, o.allow_swap,
                 {.rows = PassRules{}.tokens});
  const std::unique_ptr<Model> model = load_model(directory, *pool, precision, kv_bits);

  Json scores = Json::array();
  std::string lines;
  const auto on_score = [&](const PairScore& score) {
    if (o.out.json) {
      scores.push_back(score_json(score));
    } else if (!o.output.empty()) {
      lines += score_json(score).dump() + '\n';
    } else {
      fmt::print("{}\n", score_json(score).dump());
    }
  };
  const std::int64_t cut = score_stream(
      from_stdin ? std::cin : file, from_stdin ? "stdin" : o.requests, *model, tokenizer, on_score);
  if (o.out.json) {
    Json document;
    document["model"] = directory.string();
    document["precision"] = precision_name(precision);
    document["kv_bits"] = o.kv_bits;
    document["kernels"] = kernels().name;
    document["threads"] = pool->threads();
    document["truncated_requests"] = cut;
    document["scores"] = std::move(scores);
    lines = document.dump(2) + '\n';
  }
  if (!o.output.empty()) {
    write_file_atomic(o.output, lines, o.force);
  } else {
    fmt::print("{}", lines);
  }
  if (!o.out.quiet) {
    fmt::print(stderr, "scored with kernels {}, {} threads, precision {}, {}-bit keys and values\n",
               kernels().name, pool->threads(), precision_name(precision), o.kv_bits);
  }
  if (cut > 0 && !o.out.quiet) {
    fmt::print(stderr, "{} contexts were cut on the left to fit the model's {} positions\n", cut,
               model->config().max_position_embeddings);
  }
}

}  // namespace

void add_score(CLI::App& app) {
  auto o = std::make_shared<ScoreFlags>();
  CLI::App* verb = app.add_subcommand(
      "score",
      "log-likelihood of continuations: the scoring service under eval, for other harnesses");
  verb->add_option("-m,--model", o->model, "model directory or Hub id")->required();
  verb->add_option("--requests", o->requests,
                   "JSON lines, '-' for stdin: {\"context\",\"continuation\"}, or {\"context_ids\","
                   "\"continuation_ids\"}")
      ->required();
  verb->add_option("-o,--output", o->output, "write here instead of to stdout");
  verb->add_flag("--force", o->force, "replace an existing output file");
  add_precision_option(*verb, o->precision);
  add_kv_bits_option(*verb, o->kv_bits);
  add_compute_options(*verb, o->compute);
  add_memory_option(*verb, o->allow_swap);
  add_output_options(*verb, o->out);
  set_example(*verb,
              "echo '{\"context\": \"The capital of France is\", \"continuation\": \" Paris\"}' | "
              "qx score -m models/q4-hi --requests -");
  verb->callback([o] { run(*o); });
}

}  // namespace qx::cli
