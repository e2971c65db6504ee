// qx audit: which claims of a model card its own numbers support.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <iostream>
#include <iterator>
#include <memory>

#include "audit/audit.h"
#include "base/mapped_file.h"
#include "options.h"
#include "text/visible.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct AuditFlags {
  std::string card;
  OutputOptions out;
};

void run(const AuditFlags& options) {
  std::string text;
  if (options.card == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    text = MappedFile(options.card).text();
  }
  const Audit audit = audit_text(text, options.card == "-" ? "stdin" : options.card);
  if (options.out.json) {
    fmt::print("{}\n", dump_json(audit_json(audit), 2, false, false));
  } else {
    fmt::print("{}", without_controls(audit_report(audit, 80)));
  }
}

}  // namespace

void add_audit(CLI::App& app) {
  auto options = std::make_shared<AuditFlags>();
  CLI::App* verb = app.add_subcommand(
      "audit", "read a card's or an issue's score table; say which claims its numbers support");
  verb->add_option("CARD", options->card, "Markdown or text file; - reads stdin")->required();
  add_output_options(*verb, options->out);
  set_example(*verb, "qx audit README.md");
  verb->callback([options] { run(*options); });
}

}  // namespace qx::cli
