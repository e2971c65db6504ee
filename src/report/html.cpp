// SPDX-License-Identifier: Apache-2.0
#include "report/html.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "base/error.h"
#include "embedded_report_page.h"
#include "text/html.h"

namespace qx {
namespace {

std::string_view page_file(std::string_view name) {
  for (const auto& [file, content] : embedded_report_page()) {
    if (file == name) return content;
  }
  throw InternalError(fmt::format("report: {} is not compiled in", name));
}

// A script's text must not hold what ends its element. The files are our own and Chart.js.
std::string inline_script(std::string_view name) {
  const std::string_view text = page_file(name);
  if (text.find("</script") != std::string_view::npos ||
      text.find('\r') != std::string_view::npos) {
    throw InternalError(fmt::format("report: {} cannot stand inside a page", name));
  }
  return std::string(text);
}

}  // namespace

std::string script_json(const Json& data) {
  const std::string text = data.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string out;
  out.reserve(text.size() + text.size() / 16);
  for (const char c : text) {
    switch (c) {  // these occur within strings only
      case '<':
        out += "\\u003c";
        break;
      case '>':
        out += "\\u003e";
        break;
      case '&':
        out += "\\u0026";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string fill_template(std::string_view text, const std::vector<Placeholder>& values) {
  std::string out;
  std::vector<bool> used(values.size());
  std::size_t at = 0;
  while (true) {
    const std::size_t open = text.find("{{", at);
    out += text.substr(at, open == std::string_view::npos ? open : open - at);
    if (open == std::string_view::npos) break;
    const std::size_t close = text.find("}}", open);
    if (close == std::string_view::npos) throw InternalError("template: an open {{");
    const std::string_view name = text.substr(open + 2, close - open - 2);
    std::size_t v = 0;
    while (v < values.size() && values[v].name != name) ++v;
    if (v == values.size()) throw InternalError(fmt::format("template: unknown {{{{{}}}}}", name));
    out += values[v].value;
    used[v] = true;
    at = close + 2;
  }
  for (std::size_t v = 0; v < values.size(); ++v) {
    if (!used[v]) throw InternalError(fmt::format("template: no place for {}", values[v].name));
  }
  return out;
}

std::string csp_hash(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    throw InternalError("report: SHA-256 failed");
  }
  std::array<unsigned char, 4 * (EVP_MAX_MD_SIZE / 3 + 1) + 1> base64{};
  const int length = EVP_EncodeBlock(base64.data(), digest.data(), static_cast<int>(size));
  return "sha256-" + std::string(base64.begin(), base64.begin() + length);
}

std::string report_html(const Json& data, const std::string& title) {
  const std::string chart = inline_script(QX_CHART_JS_FILE);
  const std::string script = inline_script("charts.js") + inline_script("page.js");
  const std::string style(page_file("page.css"));
  const std::string policy = fmt::format(
      "default-src 'none'; script-src '{}' '{}'; style-src '{}'; img-src data:; base-uri 'none'; "
      "form-action 'none'",
      csp_hash(chart), csp_hash(script), csp_hash(style));
  return fill_template(page_file("page.html"), {{"policy", policy},
                                                {"title", escape_html(title)},
                                                {"style", style},
                                                {"data", script_json(data)},
                                                {"chart", chart},
                                                {"script", script}});
}

}  // namespace qx
