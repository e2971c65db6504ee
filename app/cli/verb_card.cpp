// qx card: the model card of a run's model, and whether a card still matches its runs.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "base/gate_error.h"
#include "base/mapped_file.h"
#include "card/check_card.h"
#include "card/facts.h"
#include "card/write_card.h"
#include "io/staged.h"
#include "options.h"
#include "text/visible.h"
#include "verbs.h"

namespace qx::cli {
namespace {
namespace fs = std::filesystem;

struct CardFlags {
  std::string run, output, check, runs;
  std::vector<std::string> with;
  CardRequest request;
  bool force = false;
  OutputOptions out;
};

void write(const CardFlags& options) {
  CardRequest request = options.request;
  request.run = options.run;
  request.with.assign(options.with.begin(), options.with.end());
  if (!options.output.empty()) require_absent(options.output, options.force);
  const CardFacts facts = gather_facts(request);
  const std::string card = write_card(facts);
  if (options.out.json) {
    Json json{
        {"card", card}, {"front_matter", card_front_matter(facts)}, {"unknown", facts.unknown}};
    fmt::print("{}\n", dump_json(json, 2, false, false));
  } else if (options.output.empty()) {
    fmt::print("{}", without_controls(card));
  }
  if (!options.output.empty()) write_file_atomic(options.output, card, options.force);
  if (options.out.quiet) return;
  for (const std::string& what : facts.unknown) {
    fmt::print(stderr, "qx card: left out: {}\n", without_controls(what));
  }
}

void check(const CardFlags& options) {
  if (options.runs.empty()) {
    throw UsageError("--check needs --runs RUNS, the folder that holds the card's runs");
  }
  const MappedFile file(options.check);
  const CardCheck result = check_card(file.text(), options.check, options.runs);
  if (options.out.json) {
    Json problems = Json::array();
    for (const CardProblem& p : result.problems) {
      problems.push_back({{"line", p.line == 0 ? Json() : Json(p.line)}, {"text", p.text}});
    }
    Json json{{"checked", result.checked}, {"problems", problems}, {"notes", result.notes}};
    fmt::print("{}\n", dump_json(json, 2, false, false));
  } else {
    fmt::print("{}", without_controls(card_check_text(result, options.check)));
  }
  if (!result.problems.empty()) {
    throw GateError(fmt::format("[{}] {} of its figures and claims do not match the runs",
                                options.check, result.problems.size()));
  }
}

void run(const CardFlags& options) {
  if (options.check.empty() == options.run.empty()) {
    throw UsageError("got " + std::string(options.run.empty() ? "no run" : "a run and --check") +
                     ", expected RUNS/A to write its card, or --check CARD --runs RUNS");
  }
  if (options.check.empty()) {
    if (!options.runs.empty()) throw UsageError("--runs goes with --check");
    write(options);
    return;
  }
  if (!options.with.empty() || !options.output.empty()) {
    throw UsageError("--check writes nothing, expected neither --with nor --output");
  }
  check(options);
}

}  // namespace

void add_card(CLI::App& app) {
  auto options = std::make_shared<CardFlags>();
  CardFlags& o = *options;
  CLI::App* verb = app.add_subcommand(
      "card", "write a run's model card from measurements alone, or check a card against its runs");
  verb->add_option("RUN", o.run, "folder RUNS/A of the model that the card is about");
  verb->add_option("--with", o.with, "runs of the base and of other variants, on the same items");
  verb->add_option(
      "--base", o.request.base,
      "the base among --with, by name (default: the run whose weights' hashes are those "
      "that qx_plan.json names as the source)");
  verb->add_option("-o,--output", o.output, "write to this file instead of stdout");
  verb->add_flag("--force", o.force, "replace the output file");
  verb->add_option("--title", o.request.title, "default: the name of the repository or directory");
  verb->add_option("--repository", o.request.repository,
                   "OWNER/NAME on the Hub, for the commands that run the model");
  verb->add_option(
      "--license", o.request.license,
      "identifier, as apache-2.0 (default: of the README.md beside the model or its base)");
  verb->add_option("--language", o.request.languages, "codes, as en (default: likewise)")
      ->delimiter(',');
  verb->add_option("--base-model", o.request.base_models,
                   "OWNER/NAME of what was quantized (default: of the README.md beside the model)")
      ->delimiter(',');
  verb->add_option("--metric", o.request.metric,
                   "default (acc_norm where a task has it, else acc), acc, acc_norm, acc_bytes or "
                   "acc_token")
      ->capture_default_str();
  add_margin_option(*verb, o.request.margin);
  verb->add_option("--check", o.check, "say what in this card no longer matches; exit code 3 then");
  verb->add_option("--runs", o.runs, "with --check: the folder that holds the runs");
  add_output_options(*verb, o.out);
  set_example(*verb, "qx card runs/q4-hi --with runs/base runs/q8 -o models/q4-hi/README.md");
  verb->callback([options] { run(*options); });
}

}  // namespace qx::cli
