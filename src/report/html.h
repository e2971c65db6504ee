// Lays data into the page's template: one HTML file that needs nothing else.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace qx {

// JSON for a <script type="application/json"> element: no '<', '>' or '&' is left in it (they
// become \u003c ..), so that no string can end the element or open a comment; what is not UTF-8
// becomes U+FFFD.
std::string script_json(const Json& data);

// The template's "{{name}}" replaced in one pass, so that inserted text is never read as a
// placeholder.
// Fails: InternalError for a name that has no value or a value that has no place.
struct Placeholder {
  std::string_view name;
  std::string value;
};
std::string fill_template(std::string_view text, const std::vector<Placeholder>& values);

// "sha256-..." of an inline script or style, as a Content-Security-Policy takes it (CSP level 2,
// section 4.2.5).
std::string csp_hash(std::string_view text);

// The page. Its policy allows the page's own scripts and styles by their hashes and nothing else,
// no network.
std::string report_html(const Json& data, const std::string& title);

}  // namespace qx
