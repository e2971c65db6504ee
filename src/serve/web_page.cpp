// SPDX-License-Identifier: Apache-2.0
#include "serve/web_page.h"

#include "base/error.h"
#include "embedded_serve_page.h"

namespace qx {
namespace {

constexpr std::string_view kPage = "page.html";

std::string_view content_type(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  QX_CHECK(name.ends_with(".js"));
  return "text/javascript; charset=utf-8";
}

}  // namespace

std::optional<WebFile> find_web_file(std::string_view path) {
  if (!path.starts_with('/')) return {};
  const std::string_view name = path == "/" ? kPage : path.substr(1);
  for (const auto& [file, body] : embedded_serve_page()) {
    if (file == name && (file != kPage || path == "/")) return WebFile{content_type(file), body};
  }
  return {};
}

std::vector<std::pair<std::string, std::string>> web_file_headers() {
  return {{"Cache-Control", "no-cache"},
          {"Content-Security-Policy", "frame-ancestors 'none'"},
          {"Cross-Origin-Opener-Policy", "same-origin"},
          {"Cross-Origin-Resource-Policy", "same-origin"},
          {"Referrer-Policy", "no-referrer"},
          {"X-Content-Type-Options", "nosniff"}};
}

}  // namespace qx
