// The verbs of the command line: one file verb_NAME.cpp each, one row in kVerbs (main.cpp) each.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

namespace qx::cli {

// Adds the subcommand with its options and a callback that does the work. The callback throws
// qx::Error (exit 1), qx::UsageError (exit 2) or qx::Interrupted (130); main() prints "qx VERB:
// [place] ..".
using AddVerb = void (*)(CLI::App& app);

void add_import(CLI::App& app);
void add_calibrate(CLI::App& app);
void add_sensitivity(CLI::App& app);
void add_search(CLI::App& app);
void add_convert(CLI::App& app);
void add_plan(CLI::App& app);
void add_inspect(CLI::App& app);
void add_verify(CLI::App& app);
void add_diff(CLI::App& app);
void add_distill(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_generate(CLI::App& app);
void add_cache_prompt(CLI::App& app);
void add_chat(CLI::App& app);
void add_bench(CLI::App& app);
void add_score(CLI::App& app);
void add_serve(CLI::App& app);
void add_eval(CLI::App& app);
void add_show(CLI::App& app);
void add_runs(CLI::App& app);
void add_merge_runs(CLI::App& app);
void add_import_run(CLI::App& app);
void add_export_run(CLI::App& app);
void add_data(CLI::App& app);
void add_compare(CLI::App& app);
void add_report(CLI::App& app);
void add_card(CLI::App& app);
void add_publish(CLI::App& app);
void add_audit(CLI::App& app);
void add_perplexity(CLI::App& app);
void add_divergence(CLI::App& app);

}  // namespace qx::cli
