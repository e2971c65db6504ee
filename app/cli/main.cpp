// qx: make, measure and choose quantizations of language models. Parses the command line and turns
// exceptions into messages and exit codes (0 done, 1 input or machine, 2 command line, 3 gate, 130
// interrupt).
// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <optional>
#include <sstream>
#include <system_error>

#include "base/build_info.h"
#include "base/error.h"
#include "base/gate_error.h"
#include "base/interrupt.h"
#include "cluster/launcher.h"
#include "cluster/mpi.h"
#include "kernels/api.h"
#include "text/visible.h"
#include "verbs.h"

namespace {

constexpr qx::cli::AddVerb kVerbs[] = {
    // clang-format off
    qx::cli::add_import,
    qx::cli::add_calibrate,
    qx::cli::add_sensitivity,
    qx::cli::add_search,
    qx::cli::add_convert,
    qx::cli::add_plan,
    qx::cli::add_inspect,
    qx::cli::add_verify,
    qx::cli::add_diff,
    qx::cli::add_distill,
    qx::cli::add_tokenize,
    qx::cli::add_generate,
    qx::cli::add_cache_prompt,
    qx::cli::add_serve,
    qx::cli::add_chat,
    qx::cli::add_bench,
    qx::cli::add_score,
    qx::cli::add_eval,
    qx::cli::add_show,
    qx::cli::add_runs,
    qx::cli::add_merge_runs,
    qx::cli::add_import_run,
    qx::cli::add_export_run,
    qx::cli::add_data,
    qx::cli::add_compare,
    qx::cli::add_report,
    qx::cli::add_card,
    qx::cli::add_publish,
    qx::cli::add_audit,
    qx::cli::add_perplexity,
    qx::cli::add_divergence,
    // clang-format on
};

std::string version_text() {
  const qx::BuildInfo& b = qx::build_info();
  const std::string mpi = qx::mpi_library();
  return fmt::format("qx {} (commit {}{})\ncompiler: {}\nkernels:  {}\nMPI:      {}", b.version,
                     b.commit, b.dirty ? ", with uncommitted changes" : "", b.compiler,
                     qx::kernels().name, mpi.empty() ? "not built in" : mpi);
}

std::string verb_name(const CLI::App& app) {
  const auto verbs = app.get_subcommands();
  return app.get_name() + (verbs.empty() ? "" : " " + verb_name(*verbs.front()));
}

int report(const CLI::App& app, int code, const std::string& message) {
  std::fflush(stdout);
  // Messages quote data, which must not steer the terminal.
  const std::string line = fmt::format("{}: {}\n", verb_name(app), qx::without_controls(message));
  // Not fmt::print, which throws when stderr takes nothing: nobody would catch it here.
  std::fputs(line.c_str(), stderr);
  return code;
}

// Of several processes that a launcher started, rank 0 alone speaks, and eval alone knows what to do with them.
void prepare_for(const qx::Launch& launch, CLI::App& app) {
  if (!launch.parallel()) return;
  if (launch.rank > 0 && std::freopen("/dev/null", "w", stdout) == nullptr) std::fclose(stdout);
  for (CLI::App* verb : app.get_subcommands({})) {
    if (verb->get_name() == "eval") continue;
    verb->preparse_callback([launch](std::size_t) {
      throw qx::UsageError(
          "runs as one process, and this is one of several of one job; start it without mpirun or "
          "srun (eval alone spreads over processes)");
    });
  }
}

// Launchers end a job when its first process fails: one that leaves silently waits for the one that says why.
void let_rank_0_speak() {
  ::sleep(2);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"qx makes, measures and compares quantizations of language models (MLX format)."};
  app.name("qx");
  app.set_version_flag("--version", version_text);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  for (const qx::cli::AddVerb add : kVerbs) add(app);
  const std::optional<qx::Launch> launch = qx::find_launch();
  if (launch) prepare_for(*launch, app);
  const bool speaks = !launch || !launch->parallel() || launch->rank == 0;

  qx::install_interrupt_handler();
  try {
    app.parse(argc, argv);
    if (std::fflush(stdout) != 0) return report(app, 1, "[stdout] writing failed");
    return 0;
  } catch (const CLI::ParseError& e) {
    std::ostringstream nowhere;
    const int code = speaks ? app.exit(e) : app.exit(e, nowhere, nowhere);
    if (code != 0 && !speaks) let_rank_0_speak();
    return code == 0 ? 0 : 2;
  } catch (const qx::UsageError& e) {
    if (!speaks) {
      let_rank_0_speak();
      return 2;
    }
    return report(app, 2, e.what());
  } catch (const qx::GateError& e) {
    return report(app, 3, e.what());
  } catch (const qx::Error& e) {
    return report(app, 1, e.what());
  } catch (const qx::Interrupted& e) {
    return report(app, 130, e.hint.empty() ? "interrupted" : "interrupted; " + e.hint);
  } catch (const qx::InternalError& e) {
    return report(app, 1, fmt::format("internal error, please report it: {}", e.what()));
  } catch (const std::bad_alloc&) {
    return report(app, 1,
                  "[memory] the machine has too little for this, expected more or a smaller model");
  } catch (const std::system_error& e) {
    return report(app, 1, fmt::format("[system] {}", e.what()));
  } catch (const std::exception& e) {
    return report(app, 1, fmt::format("unexpected error, please report it: {}", e.what()));
  }
}
