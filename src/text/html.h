// Text made fit for HTML.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace qx {

// For text between tags and for attributes in quotes: & < > " ' become references.
std::string escape_html(std::string_view text);

}  // namespace qx
