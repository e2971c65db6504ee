// qx merge-runs: joins the folders of qx eval --shard i/n.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "options.h"
#include "runs/merge.h"
#include "text/visible.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct MergeOptions {
  std::vector<std::string> folders;
  std::string output;
  bool partial = false, force = false;
  OutputOptions out;
};

void print_merge(const Merge& merge, const MergeOptions& o) {
  if (o.out.json) {
    Json json;
    json["folder"] = o.output;
    json["shards"] = merge.shards;
    for (const MergedTask& task : merge.tasks) {
      json["tasks"][task.name] = {{"answered", task.answered}, {"items", task.items}};
    }
    json["missing"] = merge.missing;
    fmt::print("{}\n", dump_json(json, 2, false, false));
    return;
  }
  for (const MergedTask& task : merge.tasks) {
    fmt::print("{:<16} {:>6} of {} items\n", task.name, task.answered, task.items);
  }
  fmt::print("run   {}{}\n", o.output, merge.missing.empty() ? "" : " (not whole)");
  for (const std::string& text : merge.missing)
    fmt::print(stderr, "missing: {}\n", without_controls(text));
}

}  // namespace

void add_merge_runs(CLI::App& app) {
  auto o = std::make_shared<MergeOptions>();
  CLI::App* verb = app.add_subcommand("merge-runs", "join the shards of a run into one run folder");
  verb->add_option("DIR", o->folders, "run folders of qx eval --shard, in any order")->required();
  verb->add_option("-o,--output", o->output, "the run folder to write")->required();
  verb->add_flag(
      "--partial", o->partial,
      "join what there is when shards or answers are missing; qx eval can go on with it");
  verb->add_flag("--force", o->force, "replace an existing folder");
  add_output_options(*verb, o->out);
  set_example(*verb, "qx merge-runs shards/*/q4-hi -o runs/q4-hi");
  verb->callback([o] {
    print_merge(merge_runs({o->folders.begin(), o->folders.end()}, o->output, o->partial, o->force),
                *o);
  });
}

}  // namespace qx::cli
