// qx runs: what run folders there are, how far they are, and which belong together.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "options.h"
#include "runs/run_list.h"
#include "text/visible.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct RunsOptions {
  std::string root;
  OutputOptions out;
};

void run(const RunsOptions& o) {
  const RunList list = list_runs(o.root);
  if (list.runs.empty() && list.broken.empty() && !o.out.json) {
    fail(o.root, "holds no runs, expected folders RUNS/NAME of qx eval");
  }
  if (o.out.json) {
    fmt::print("{}\n", dump_json(run_list_json(list), 2, false, false));
  } else {
    fmt::print("{}", without_controls(render_run_list(list)));
  }
}

}  // namespace

void add_runs(CLI::App& app) {
  auto o = std::make_shared<RunsOptions>();
  CLI::App* verb = app.add_subcommand(
      "runs", "list the runs in a folder: how far they are, and which can be compared or joined");
  verb->add_option("RUNS", o->root, "folder that qx eval wrote into (-o)")->required();
  add_output_options(*verb, o->out);
  set_example(*verb, "qx runs runs");
  verb->callback([o] { run(*o); });
}

}  // namespace qx::cli
