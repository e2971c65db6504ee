// SPDX-License-Identifier: Apache-2.0
#include "hub/settings.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr const char* kDefaultService = "https://datasets-server.huggingface.co";
constexpr std::size_t kMaxToken = 4096;

// huggingface_hub/constants.py, _is_true.
bool is_true(const std::optional<std::string>& value) {
  if (!value) return false;
  std::string upper = *value;
  for (char& c : upper) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return upper == "1" || upper == "ON" || upper == "YES" || upper == "TRUE";
}

std::string_view trimmed(std::string_view text) {
  const char* const blanks = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

// What goes into a header must hold nothing that ends the header.
std::string checked_token(std::string_view text, std::string_view place) {
  const std::string_view token = trimmed(text);
  const bool clean =
      token.size() <= kMaxToken &&
      std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!clean) fail(place, "got something that is no token, expected one word of plain ASCII");
  return std::string(token);
}

fs::path token_file(const Environment& environment) {
  if (const auto path = environment("HF_TOKEN_PATH")) return *path;
  if (const auto path = environment("HF_HOME")) return fs::path(*path) / "token";
  if (const auto path = environment("XDG_CACHE_HOME")) {
    return fs::path(*path) / "huggingface" / "token";
  }
  if (const auto path = environment("HOME")) {
    return fs::path(*path) / ".cache" / "huggingface" / "token";
  }
  return {};
}

void find_token(const Environment& environment, HubSettings& settings) {
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    if (const auto value = environment(name)) {
      settings.token = checked_token(*value, name);
      settings.token_from = name;
      if (!settings.token.empty()) return;
    }
  }
  const fs::path path = token_file(environment);
  std::error_code ignored;
  if (path.empty() || !fs::is_regular_file(path, ignored)) return;
  std::ifstream in(path, std::ios::binary);
  std::string text(kMaxToken + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, in.gcount())));
  settings.token = checked_token(text, path.string());
  settings.token_from = path.string();
}

Url service_address(const Environment& environment, std::string& from) {
  if (const auto own = environment("QX_HUB_ROWS")) {
    from = "QX_HUB_ROWS";
    return parse_url(*own, from);
  }
  if (const auto endpoint = environment("HF_ENDPOINT")) {
    from = "HF_ENDPOINT";
    Url url = parse_url(*endpoint, from);
    if (!url.is_loopback() && !url.host_is_address()) url.host = "datasets-server." + url.host;
    return url;
  }
  from = "the default";
  return parse_url(kDefaultService, from);
}

// Whether no_proxy's entry means this host.
bool matches(std::string_view entry, const std::string& host) {
  if (entry == "*") return true;
  if (entry.starts_with("*.")) entry.remove_prefix(1);
  if (entry.starts_with('.')) entry.remove_prefix(1);
  const std::size_t colon = entry.rfind(':');
  if (colon != std::string_view::npos && entry.find(':') == colon) entry = entry.substr(0, colon);
  if (entry.empty()) return false;
  std::string name(entry);
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return host == name || (host.ends_with(name) && host[host.size() - name.size() - 1] == '.');
}

std::optional<std::string> first_of(const Environment& environment,
                                    std::initializer_list<const char*> names, std::string& name) {
  for (const char* n : names) {
    if (auto value = environment(n)) {
      name = n;
      return value;
    }
  }
  return std::nullopt;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool coded = text[i] == '%' && i + 2 < text.size() &&
                       std::isxdigit(static_cast<unsigned char>(text[i + 1])) != 0 &&
                       std::isxdigit(static_cast<unsigned char>(text[i + 2])) != 0;
    out += coded ? static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16))
                 : text[i];
    if (coded) i += 2;
  }
  return out;
}

}  // namespace

std::optional<std::string> process_environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

HubSettings hub_settings(const Environment& environment) {
  if (is_true(environment("HF_HUB_OFFLINE"))) {
    fail("HF_HUB_OFFLINE", "this variable forbids to use the network; unset it to fetch");
  }
  HubSettings settings;
  settings.service = service_address(environment, settings.service_from);
  std::string& target = settings.service.target;
  if (target.find('?') != std::string::npos) {
    fail(settings.service_from, "got an address with a query, expected none");
  }
  while (target.ends_with('/')) target.pop_back();
  if (is_true(environment("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return settings;
  find_token(environment, settings);
  if (!settings.token.empty() && !settings.service.tls && !settings.service.is_loopback()) {
    settings.token_withheld = fmt::format("the token of {} is not sent: {} has no https",
                                          settings.token_from, settings.service.origin());
    settings.token.clear();
  }
  return settings;
}

HttpProxy proxy_for(const Url& url, const Environment& environment) {
  if (url.is_loopback()) return {};
  std::string name;
  // HTTP_PROXY in capitals is not read: a web server sets it from a request's header (httpoxy).
  auto value = url.tls ? first_of(environment, {"https_proxy", "HTTPS_PROXY"}, name)
                       : first_of(environment, {"http_proxy"}, name);
  if (!value) value = first_of(environment, {"all_proxy", "ALL_PROXY"}, name);
  if (!value) return {};
  std::string ignored;
  const std::string exempt =
      first_of(environment, {"no_proxy", "NO_PROXY"}, ignored).value_or(std::string());
  for (std::size_t begin = 0; begin <= exempt.size();) {
    const std::size_t end = std::min(exempt.find(',', begin), exempt.size());
    if (matches(trimmed(std::string_view(exempt).substr(begin, end - begin)), url.host)) return {};
    begin = end + 1;
  }
  std::string address = *value;
  if (address.find("://") == std::string::npos) address = "http://" + address;
  HttpProxy proxy;
  const std::size_t start = address.find("://") + 3, at = address.rfind('@');
  if (at != std::string::npos && at >= start) {
    const std::string user = address.substr(start, at - start);
    const std::size_t colon = user.find(':');
    proxy.user = percent_decoded(user.substr(0, colon));
    if (colon != std::string::npos) proxy.password = percent_decoded(user.substr(colon + 1));
    address.erase(start, at + 1 - start);
  }
  const Url parsed = parse_url(address, name);
  if (parsed.tls) fail(name, "got a proxy with https://, expected one with http://");
  proxy.host = parsed.host;
  proxy.port = parsed.port;
  return proxy;
}

}  // namespace qx
