// qx import-run: results of lm-eval and mlx_lm.evaluate as a run folder that qx compare reads.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "options.h"
#include "runs/import_results.h"
#include "text/visible.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct ImportRunFlags {
  std::vector<std::string> paths;
  std::string target;
  bool force = false;
  OutputOptions out;
};

void run(const ImportRunFlags& o) {
  const ImportOutcome outcome = import_run({{o.paths.begin(), o.paths.end()}, o.target, o.force});
  if (o.out.json) {
    Json json{{"run", o.target}, {"tasks", Json::object()}, {"notes", outcome.notes}};
    for (const ImportedTask& task : outcome.tasks) {
      json["tasks"][task.task] = {{"items", task.items}, {"per_item", task.per_item}};
    }
    fmt::print("{}\n", dump_json(json, 2, false, false));
    return;
  }
  for (const ImportedTask& task : outcome.tasks) {
    fmt::print("{:<16} {:>7} items, {}\n", without_controls(task.task), task.items,
               task.per_item ? "each with its answer" : "only their accuracy");
  }
  for (const std::string& note : outcome.notes) {
    fmt::print(stderr, "note: {}\n", without_controls(note));
  }
}

}  // namespace

void add_import_run(CLI::App& app) {
  auto o = std::make_shared<ImportRunFlags>();
  CLI::App* verb = app.add_subcommand(
      "import-run", "results of lm-eval or mlx_lm.evaluate as a run that qx compare reads");
  verb->add_option("PATHS", o->paths,
                   "samples_TASK_TIME.jsonl and results_TIME.json of lm-eval, a result file of "
                   "mlx_lm.evaluate, or the folder that holds one run's")
      ->required();
  verb->add_option("-o,--output", o->target, "run folder to write: RUNS/NAME")->required();
  verb->add_flag("--force", o->force, "replace a run that was imported before");
  add_output_options(*verb, o->out);
  set_example(*verb, "qx import-run results/org__model -o runs/theirs");
  verb->callback([o] { run(*o); });
}

}  // namespace qx::cli
