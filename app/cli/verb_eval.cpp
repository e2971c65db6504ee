// qx eval: multiple-choice and cloze tasks, for one or several models.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "calibrate/overlap.h"
#include "cluster/launcher.h"
#include "cluster/mpi.h"
#include "eval/estimate.h"
#include "eval/evaluate.h"
#include "eval/export_run.h"
#include "eval/leader.h"
#include "eval/named_models.h"
#include "eval/outcome_json.h"
#include "eval/worker.h"
#include "fit/calibration_file.h"
#include "fit/fitted_with.h"
#include "options.h"
#include "selection_options.h"
#include "verbs.h"

namespace qx::cli {
namespace {
namespace fs = std::filesystem;

struct EvalFlags {
  std::vector<std::string> models;
  std::string tasks, runs, data, convention, template_config, precision, calibration;
  int kv_bits = 32;
  SelectionOptions selection;
  int shots = 0;
  std::optional<std::uint64_t> few_shot_seed;
  bool multiturn = false, single_turn = false;
  bool chat = false, plain = false, write_prompts = false, export_samples = false, dry_run = false,
       resume = false, force = false, allow_swap = false;
  OutputOptions out;
  ComputeOptions compute;
};

EvalRequest make_request(const EvalFlags& o) {
  EvalRequest request;
  request.tasks = parse_task_list(o.tasks);
  request.precision = parse_precision(o.precision);
  request.kv_bits = parse_kv_bits(o.kv_bits);
  if (o.chat || o.plain) request.chat = o.chat;
  if (!o.convention.empty()) {
    request.convention = o.convention == "lm-eval" ? Convention::kLmEval : Convention::kMlxLm;
  }
  if (!o.template_config.empty()) {
    try {
      request.template_variables = parse_json(o.template_config, "--chat-template-config");
    } catch (const Error& e) {
      throw UsageError(e.what());
    }
    if (!request.template_variables.is_object()) {
      throw UsageError("--chat-template-config: expected a JSON object");
    }
  }
  request.shots = o.shots;
  request.few_shot_seed = o.few_shot_seed;
  if (o.multiturn || o.single_turn) request.multiturn = o.multiturn;
  if (o.resume && o.force) throw UsageError("--resume and --force exclude each other");
  request.how = o.force    ? OpenRun::kStartOver
                : o.resume ? OpenRun::kContinueOnly
                           : OpenRun::kNewOrContinue;
  if (!o.data.empty()) request.data_directory = o.data;
  request.rows = make_selection(o.selection);
  request.runs = o.runs;
  request.write_prompts = o.write_prompts;
  request.quiet = o.out.quiet;
  for (NamedModel& model : parse_named_models(o.models)) {
    request.models.push_back({std::move(model.name), std::move(model.directory)});
  }
  check_request(request);
  return request;
}

std::string data_text(const std::vector<DataUsed>& data) {
  std::string text;
  for (const DataUsed& d : data) {
    text += fmt::format("data  {:<14} {} ({} of {} rows; {})\n", d.task, d.file, d.items, d.rows,
                        d.origin == "shipped" ? "our own set that ships with qx" : d.origin);
  }
  return text;
}

// "5 examples with seed 1234 as turns, "
std::string few_shot_text(const Json& run) {
  if (run["few_shot"] == 0) return "";
  const Json& multiturn = run["few_shot_multiturn"];
  const char* form = multiturn.is_null()     ? ""
                     : multiturn.get<bool>() ? " as turns"
                                             : " in one turn";
  return fmt::format("{} examples with seed {}{}, ", run["few_shot"].get<int>(),
                     run["few_shot_seed"].get<std::uint64_t>(), form);
}

void print_outcome(const EvalOutcome& outcome, bool json) {
  if (json) {
    fmt::print("{}\n", dump_json(outcome_json(outcome), 2, false, false));
    return;
  }
  std::vector<NamedResults> named;
  for (const ModelOutcome& model : outcome.models)
    named.push_back({model.model.name, model.results});
  fmt::print("{}\n{}", results_table(named), data_text(outcome.data));
  for (const ModelOutcome& model : outcome.models) {
    fmt::print(
        "run   {:<14} {} ({}, {} convention, {}precision {}, {}-bit keys and values, kernels {})\n",
        model.model.name, model.folder.string(), model.run["mode"].get<std::string>(),
        model.run["convention"].get<std::string>(), few_shot_text(model.run),
        model.run["precision"].get<std::string>(), model.run["kv_bits"].get<int>(),
        model.run["kernels"].get<std::string>());
  }
}

std::string about(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s", seconds);
  if (seconds < 5400) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

std::string about(const TimeRange& time) {
  return fmt::format("{} ({} to {})", about(time.seconds), about(time.low), about(time.high));
}

Json time_json(const TimeRange& time) {
  Json json;
  json["seconds"] = time.seconds;
  json["seconds_low"] = time.low;
  json["seconds_high"] = time.high;
  return json;
}

void print_estimate_json(const EvalEstimate& estimate, int ranks) {
  Json document;
  document["dry_run"] = true;
  document["ranks"] = ranks;
  document["data"] = data_used_json(estimate.data);
  for (const ModelEstimate& model : estimate.models) {
    Json& entry = document["models"][model.model.name];
    entry = time_json(model.time);  // of one rank
    if (!model.conflict.empty()) entry["conflict"] = model.conflict;
    for (const TaskEstimate& task : model.tasks) {
      Json& t = entry["tasks"][std::string(task.task->name)];
      t = time_json(task.time);
      t["items"] = task.items;
      t["answered"] = task.answered;
      t["tokens"] = task.tokens.forward;
      t["tokens_unshared"] = task.tokens.unshared;
      t["tokens_scored"] = task.tokens.scored;
    }
  }
  fmt::print("{}\n", dump_json(document, 2, false, false));
}

void print_estimate(const EvalEstimate& estimate, int ranks) {
  TimeRange total;
  for (const ModelEstimate& model : estimate.models) {
    std::int64_t items = 0, answered = 0, tokens = 0;
    fmt::print("{}\n  {:<14} {:>7} {:>9} {:>11} {:>11} {:>9}  {}\n", model.model.name, "task",
               "items", "answered", "tokens", "unshared", "scored", "time");
    for (const TaskEstimate& task : model.tasks) {
      fmt::print("  {:<14} {:>7} {:>9} {:>11} {:>11} {:>9}  {}\n", task.task->name, task.items,
                 task.answered, task.tokens.forward, task.tokens.unshared, task.tokens.scored,
                 about(task.time));
      items += task.items;
      answered += task.answered;
      tokens += task.tokens.forward;
    }
    fmt::print("  {:<14} {:>7} {:>9} {:>11} {:>31}\n", "all", items, answered, tokens,
               "  " + about(model.time));
    if (!model.conflict.empty()) {
      fmt::print("  the folder holds another run and would be refused. {}\n", model.conflict);
    }
    total.seconds += model.time.seconds;
    total.low += model.time.low;
    total.high += model.time.high;
  }
  fmt::print("{}", data_text(estimate.data));
  if (estimate.models.size() > 1) fmt::print("all models: {}\n", about(total));
  if (ranks > 1) {
    fmt::print("on {} ranks as fast as this one: about {}\n", ranks, about(total.seconds / ranks));
  }
  fmt::print(
      "times are from two short samples of each task on this machine as busy as it is now; the "
      "start of the program and reading the weights are not in them\n");
}

// Everything that each rank does for itself before it answers. ranks: null when this process is alone.
struct Ready {
  EvalRequest request;
  std::unique_ptr<ThreadPool> pool;
};
Ready get_ready(const EvalFlags& o, const Communicator* ranks) {
  Ready ready{make_request(o), nullptr};
  const int local = ranks != nullptr ? ranks->local_size() : 1;
  ready.request.ranks = ranks != nullptr ? ranks->size() : 1;
  ready.pool = start_compute(o.compute, local);
  MemoryUse use;
  use.rows = ready.request.pass.tokens;
  use.processes = local;
  use.warn = ranks == nullptr || ranks->rank() == 0;
  for (const EvalModel& model : ready.request.models) {
    require_memory("eval", model.directory, kDefaultContext, ready.request.kv_bits, o.allow_swap,
                   use);
  }
  return ready;
}

void warn_of_bound_cores(const EvalFlags& o, const ThreadPool& pool, const Communicator& ranks) {
  const int fair = machine_cores() / ranks.local_size();
  if (o.out.quiet || o.compute.threads > 0 || pool.threads() >= fair) return;
  fmt::print(
      stderr,
      "qx eval: the launcher bound this rank to {} of the machine's {} cores, which {} ranks "
      "share; mpirun --bind-to none lets each use {}\n",
      pool.threads(), machine_cores(), ranks.local_size(), fair);
}

// Fitted codes are judged too well by items that they were fitted to.
void warn_of_overlap(const EvalFlags& o, const EvalRequest& request) {
  if (o.calibration.empty()) return;
  const Calibration calibration(o.calibration);
  for (const EvalModel& model : request.models) {
    const FittedWith fit = fitted_with(model.directory);
    if (fit.sha256.empty() || fit.sha256 == calibration.sha256()) continue;
    fail(o.calibration, "got a calibration of SHA-256 {}, expected that of {}, {}",
         calibration.sha256().substr(0, 12), model.name, fit.sha256.substr(0, 12));
  }
  std::int64_t shared = 0;
  for (const TaskOverlap& t :
       task_overlaps(calibration.ngrams(), request.tasks, request.data_directory)) {
    shared += t.shared;
    const std::string text = overlap_text(t);
    if (!text.empty()) fmt::print(stderr, "qx eval: warning: {}\n", text);
  }
  if (shared == 0 && !o.out.quiet) {
    fmt::print(stderr, "qx eval: no item shares a run of {} words with the calibration text\n",
               kNgramWords);
  }
}

void lead(const EvalFlags& o, RankTeam* team) {
  const Communicator* ranks = team != nullptr ? &team->ranks() : nullptr;
  const Ready ready = get_ready(o, ranks);
  const EvalRequest& request = ready.request;
  warn_of_overlap(o, request);
  if (ranks != nullptr) warn_of_bound_cores(o, *ready.pool, *ranks);
  if (o.dry_run) {
    const EvalEstimate e = estimate(request, *ready.pool);
    return o.out.json ? print_estimate_json(e, request.ranks) : print_estimate(e, request.ranks);
  }
  const EvalOutcome outcome = evaluate(request, *ready.pool, team);
  if (o.export_samples) {
    for (const ModelOutcome& model : outcome.models) {
      export_run(RecordedRun(model.folder), {model.folder, {}, {}, false, true});
    }
  }
  print_outcome(outcome, o.out.json);
  const auto asked_otherwise = [&](const ModelOutcome& m) {
    return m.run["mode"] != outcome.models.front().run["mode"];
  };
  if (!o.out.quiet && std::any_of(outcome.models.begin(), outcome.models.end(), asked_otherwise)) {
    fmt::print(stderr,
               "some models were asked in chat mode and some plainly, because not all have a "
               "chat template; say --plain to compare them\n");
  }
}

void run(const EvalFlags& o) {
  const std::optional<Launch> launch = find_launch();
  if (!launch || !launch->parallel()) return lead(o, nullptr);
  const std::unique_ptr<Communicator> ranks = join_mpi(launch->size);
  if (ranks->size() == 1) return lead(o, nullptr);
  if (ranks->rank() == 0) {
    RankTeam team(*ranks);
    return lead(o, &team);
  }
  run_as_rank(*ranks, [&] {
    if (o.dry_run) return;
    const Ready ready = get_ready(o, ranks.get());
    serve_evaluation(ready.request, *ready.pool, *ranks);
  });
}

void add_few_shot_options(CLI::App& verb, EvalFlags& o) {
  verb.add_option(
          "--shots", o.shots,
          "examples before each question, drawn from TASK.train.jsonl as lm-eval draws them")
      ->check(CLI::Range(0, 10000));
  verb.add_option("--fewshot-seed", o.few_shot_seed,
                  "seed of the draws (default: 1234 in the lm-eval convention, 123 in mlx-lm's)");
  auto* multiturn = verb.add_flag(
      "--fewshot-as-multiturn", o.multiturn,
      "in chat mode each example is a turn of its own (default in the lm-eval convention)");
  verb.add_flag("--fewshot-single-turn", o.single_turn,
                "in chat mode the examples stand in the question's turn (default in mlx-lm's)")
      ->excludes(multiturn);
}

void add_options(CLI::App& verb, EvalFlags& o) {
  verb.add_option(
          "-m,--model", o.models,
          "model directory, Hub id, or NAME=DIR; several for several models on the same items")
      ->required()
      ->expected(1)
      ->take_all();
  verb.add_option(
          "--tasks", o.tasks,
          "all, or some of arc_challenge,arc_easy,boolq,hellaswag,openbookqa,piqa,winogrande, and "
          "descriptions of your own (FILE.json)")
      ->required();
  verb.add_option("-o,--output", o.runs, "folder that gets one run folder per model")->required();
  verb.add_option("--data", o.data,
                  "folder of TASK.jsonl files (default: $QX_DATA, the cache, the shipped set)");
  add_selection_options(verb, o.selection);
  add_few_shot_options(verb, o);
  auto* chat =
      verb.add_flag("--chat", o.chat, "apply the chat template (default when there is one)");
  verb.add_flag("--plain", o.plain, "do not apply it")->excludes(chat);
  verb.add_option(
          "--convention", o.convention,
          "where white space at a context's end is scored: lm-eval (default with --plain) or "
          "mlx-lm (default with --chat)")
      ->check(CLI::IsMember({"lm-eval", "mlx-lm"}));
  verb.add_option("--chat-template-config", o.template_config,
                  "further variables of the template: '{\"enable_thinking\": false}'");
  verb.add_flag("--write-prompts", o.write_prompts,
                "write prompts-TASK.jsonl: texts, token ids and scored spans");
  verb.add_flag("--export-samples", o.export_samples,
                "write samples_TASK.jsonl in lm-eval's layout into the run folder, too");
  verb.add_option("--calibration", o.calibration,
                  "of fitted models: their calibration, to say which items its text had in it");
  verb.add_flag("--dry-run", o.dry_run,
                "only say how many items and tokens there are, and the time");
  verb.add_flag("--resume", o.resume, "continue a run; an error when there is none to continue");
  verb.add_flag("--force", o.force, "start existing run folders over");
}

}  // namespace

void add_eval(CLI::App& app) {
  auto o = std::make_shared<EvalFlags>();
  CLI::App* verb = app.add_subcommand("eval", "answer multiple-choice tasks and keep every answer");
  add_options(*verb, *o);
  add_precision_option(*verb, o->precision);
  add_kv_bits_option(*verb, o->kv_bits);
  add_compute_options(*verb, o->compute);
  add_memory_option(*verb, o->allow_swap);
  add_output_options(*verb, o->out);
  set_example(
      *verb,
      "qx eval -m models/q4-hi -m models/qx63-hi --tasks arc_easy,hellaswag -o runs --limit 100");
  verb->callback([o] { run(*o); });
}

}  // namespace qx::cli
