// SPDX-License-Identifier: Apache-2.0
#include "compare/junit.h"

#include <fmt/format.h>

#include <algorithm>

#include "compare/table.h"
#include "text/html.h"
#include "text/visible.h"

namespace qx {

std::string escape_xml(std::string_view text) {
  // XML has no way to write most control characters, nor U+FFFE and U+FFFF; without_controls makes
  // all of them visible. It leaves line feeds, which an attribute would read back as spaces.
  return escape_html(without_controls(text));
}

std::string junit_xml(const std::vector<GateResult>& results, std::string_view baseline) {
  const auto broken =
      std::count_if(results.begin(), results.end(), [](const GateResult& r) { return !r.held; });
  const std::string counts = fmt::format("tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"0\"",
                                         results.size(), broken);
  std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
  out += fmt::format("<testsuites name=\"qx compare\" {}>\n", counts);
  out += fmt::format("  <testsuite name=\"gates against {}\" {}>\n", escape_xml(baseline), counts);
  for (const GateResult& r : results) {
    out += fmt::format("    <testcase classname=\"qx.compare.{}\" name=\"{}\"",
                       escape_xml(r.variant), escape_xml(r.gate));
    const std::string reason = escape_xml(r.reason);
    out += r.held ? fmt::format(">\n      <system-out>{}</system-out>\n", reason)
                  : fmt::format(">\n      <failure message=\"{}\" type=\"gate\">{}</failure>\n",
                                reason, reason);
    out += "    </testcase>\n";
  }
  return out + "  </testsuite>\n</testsuites>\n";
}

}  // namespace qx
