// SPDX-License-Identifier: Apache-2.0
#include "hub/url.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "io/json.h"

namespace qx {
namespace {

bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// What may be shown of an address that does not parse.
std::string shown(std::string_view text) {
  const std::size_t at = text.rfind('@');
  return printable(at == std::string_view::npos ? text : text.substr(at + 1), 120);
}

bool is_host_name(std::string_view host) {
  return !host.empty() && host.size() <= 253 && host.front() != '.' && host.front() != '-' &&
         std::all_of(host.begin(), host.end(),
                     [](char c) { return is_alnum(c) || c == '.' || c == '-' || c == '_'; });
}

bool is_ipv6(std::string_view host) {
  return host.find(':') != std::string_view::npos && host.size() <= 45 &&
         std::all_of(host.begin(), host.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == ':' || c == '.';
         });
}

bool is_ipv4(std::string_view host) {
  return std::count(host.begin(), host.end(), '.') == 3 &&
         std::all_of(host.begin(), host.end(),
                     [](char c) { return c == '.' || (c >= '0' && c <= '9'); });
}

// "host", "host:port", "[v6]" or "[v6]:port".
void parse_authority(std::string_view authority, std::string_view whole, std::string_view place,
                     Url& url) {
  std::string_view host = authority, port;
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos) fail(place, "got '{}': no ']'", shown(whole));
    host = authority.substr(1, close - 1);
    port = authority.substr(close + 1);
    url.host = lower(host);
    if (!is_ipv6(url.host)) fail(place, "got '{}', expected an IPv6 address in []", shown(whole));
  } else {
    const std::size_t colon = authority.find(':');
    host = authority.substr(0, colon);
    port = colon == std::string_view::npos ? "" : authority.substr(colon);
    url.host = lower(host);
    if (!is_host_name(url.host)) fail(place, "got '{}', expected a host name", shown(whole));
  }
  url.port = url.tls ? 443 : 80;
  if (port.empty()) return;
  const std::string_view digits = port.substr(1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), url.port);
  if (port.front() != ':' || error != std::errc() || end != digits.data() + digits.size() ||
      url.port < 1 || url.port > 65535) {
    fail(place, "got '{}', expected a port from 1 to 65535 after the host", shown(whole));
  }
}

}  // namespace

std::string Url::origin() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  const std::string scheme = tls ? "https://" : "http://";
  return scheme + name + (port == (tls ? 443 : 80) ? "" : ":" + std::to_string(port));
}

bool Url::host_is_address() const {
  return is_ipv4(host) || is_ipv6(host);
}

bool Url::is_loopback() const {
  return host == "localhost" || host == "::1" || (is_ipv4(host) && host.starts_with("127."));
}

Url parse_url(std::string_view text, std::string_view place) {
  Url url;
  const std::size_t colon = text.find("://");
  const std::string scheme = lower(text.substr(0, colon == std::string_view::npos ? 0 : colon));
  if (scheme != "http" && scheme != "https") {
    fail(place, "got '{}', expected an address that begins with https:// or http://", shown(text));
  }
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || static_cast<unsigned char>(c) >= 0x7f) {
      fail(place, "got '{}', expected no spaces and only ASCII", shown(text));
    }
  }
  url.tls = scheme == "https";
  const std::string_view rest = text.substr(colon + 3);
  const std::size_t path = std::min(rest.find_first_of("/?#"), rest.size());
  const std::string_view authority = rest.substr(0, path);
  if (authority.find('@') != std::string_view::npos) {
    fail(place, "got an address with a user name, expected none; a token goes into HF_TOKEN");
  }
  parse_authority(authority, text, place, url);
  const std::string_view target = rest.substr(path, rest.find('#') - path);
  url.target = target.starts_with('/') ? std::string(target) : "/" + std::string(target);
  return url;
}

Url resolve_location(const Url& from, std::string_view location, std::string_view place) {
  if (location.empty()) fail(place, "got a redirect without an address");
  const std::size_t colon = location.find("://");
  if (colon != std::string_view::npos && colon < location.find_first_of("/?#")) {
    return parse_url(location, place);
  }
  const std::string scheme = from.tls ? "https:" : "http:";
  if (location.starts_with("//")) return parse_url(scheme + std::string(location), place);
  if (location.starts_with('/')) return parse_url(from.origin() + std::string(location), place);
  const std::string path = from.target.substr(0, from.target.find('?'));
  return parse_url(from.origin() + path.substr(0, path.rfind('/') + 1) + std::string(location),
                   place);
}

std::string query_text(const std::vector<std::pair<std::string, std::string>>& parameters) {
  std::string out;
  const auto append = [&out](std::string_view text) {
    for (const char c : text) {
      if (is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~') {
        out += c;
      } else {
        out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
      }
    }
  };
  for (const auto& [key, value] : parameters) {
    if (!out.empty()) out += '&';
    append(key);
    out += '=';
    append(value);
  }
  return out;
}

std::string printable(std::string_view text, std::size_t max_bytes) {
  const bool valid = is_valid_utf8(text);
  std::string out(text.substr(0, max_bytes));
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || (!valid && byte >= 0x80)) c = byte == '\n' ? ' ' : '?';
  }
  if (text.size() <= max_bytes) return out;
  // A cut within a character leaves no half of it.
  while (!out.empty() && !is_valid_utf8(out)) out.pop_back();
  return out + "..";
}

}  // namespace qx
