// qx publish: what an upload to the Hub would send, and what speaks against it.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "base/gate_error.h"
#include "io/json.h"
#include "options.h"
#include "publish/upload_plan.h"
#include "text/visible.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct PublishFlags {
  std::string directory, repository;
  bool dry_run = false;
  OutputOptions out;
};

void run(const PublishFlags& options) {
  const std::string command = upload_command(options.directory, options.repository);
  if (!options.dry_run) {
    throw UsageError(without_controls(
        fmt::format("the upload goes through the Hub's official client: {} (expected --dry-run, "
                    "which says what that would send)",
                    command)));
  }
  const UploadPlan plan = plan_upload(options.directory);
  if (options.out.json) {
    fmt::print("{}\n", dump_json(upload_json(plan, command), 2, false, true));
  } else {
    fmt::print("{}", without_controls(upload_text(plan, command)));
  }
  if (!plan.problems.empty()) {
    throw GateError(fmt::format("[{}] {} problem{} to solve before an upload", options.directory,
                                plan.problems.size(), plan.problems.size() == 1 ? "" : "s"));
  }
}

}  // namespace

void add_publish(CLI::App& app) {
  auto options = std::make_shared<PublishFlags>();
  CLI::App* verb = app.add_subcommand(
      "publish", "what an upload of a model directory to the Hub would send (--dry-run)");
  verb->add_option("DIR", options->directory, "model directory")->required();
  verb->add_flag("--dry-run", options->dry_run, "list files, sizes and problems; nothing is sent");
  verb->add_option("--repository", options->repository, "OWNER/NAME, for the printed command");
  add_output_options(*verb, options->out);
  set_example(*verb, "qx publish models/q4-hi --dry-run");
  verb->callback([options] { run(*options); });
}

}  // namespace qx::cli
