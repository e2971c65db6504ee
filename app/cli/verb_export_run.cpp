// qx export-run: a run in lm-eval's layout.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include <fmt/format.h>

#include "eval/export_run.h"
#include "options.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct ExportRunFlags {
  std::string run, target, data, model;
  bool force = false;
  OutputOptions out;
};

void run(const ExportRunFlags& o) {
  ExportRequest request;
  request.target = o.target;
  request.force = o.force;
  if (!o.data.empty()) request.data = o.data;
  if (!o.model.empty()) request.model = resolve_model(o.model);
  const std::vector<std::filesystem::path> files = export_run(RecordedRun(o.run), request);
  if (o.out.json) {
    Json json{{"files", Json::array()}};
    for (const auto& file : files) json["files"].push_back(file.string());
    fmt::print("{}\n", dump_json(json, 2, false, false));
    return;
  }
  for (const auto& file : files) fmt::print("{}\n", file.string());
}

}  // namespace

void add_export_run(CLI::App& app) {
  auto o = std::make_shared<ExportRunFlags>();
  CLI::App* verb =
      app.add_subcommand("export-run", "a run in lm-eval's layout: samples and results");
  verb->add_option("RUN", o->run, "a run folder RUNS/NAME of qx eval")->required();
  verb->add_option("-o,--output", o->target, "folder for the files")->required();
  verb->add_option("--data", o->data,
                   "folder of TASK.jsonl (default: the files that the run read)");
  verb->add_option("-m,--model", o->model,
                   "where the model lies now (default: where the run found it)");
  verb->add_flag("--force", o->force, "replace existing files");
  add_output_options(*verb, o->out);
  set_example(*verb, "qx export-run runs/q4-hi -o exported/q4-hi");
  verb->callback([o] { run(*o); });
}

}  // namespace qx::cli
