// The page that a browser gets from the server: its files, compiled in. Their list is fixed, so that
// no path of a request reaches the file system.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qx {

struct WebFile {
  std::string_view content_type, body;
};

// path: of a request; "/" is the page, "/NAME" one of its files. Nothing for any other.
std::optional<WebFile> find_web_file(std::string_view path);

// Sent with each of them: no other site may frame the page, read it or learn of it, and a browser
// asks again each time, so that page and server are of one version. What the page itself may load
// stands in page.html, as its Content-Security-Policy.
std::vector<std::pair<std::string, std::string>> web_file_headers();

}  // namespace qx
