// Web addresses as far as a client of one service needs them: http and https, no user names.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qx {

struct Url {
  bool tls = false;    // https
  std::string host;    // lower case; an IPv6 address without its brackets
  int port = 0;        // 1 to 65535, the scheme's own when the text has none
  std::string target;  // path and query as they are sent; begins with '/'

  std::string origin() const;  // "https://host" or "http://host:8080": never path or query
  std::string text() const { return origin() + target; }
  bool same_origin(const Url& other) const {
    return tls == other.tls && host == other.host && port == other.port;
  }
  bool is_loopback() const;      // localhost, 127.x.x.x, ::1: this very machine
  bool host_is_address() const;  // an IPv4 or IPv6 address rather than a name
};

// place: for the message. Fails: Error for other schemes, user names, fragments, empty or strange
// hosts and ports, white space or control characters. The text itself is shown only without what
// stands before an '@', which may be a password.
Url parse_url(std::string_view text, std::string_view place);

// Where a redirect of `from` leads: an absolute address, "//host/..", "/path" or "name".
// Fails: Error as parse_url.
Url resolve_location(const Url& from, std::string_view location, std::string_view place);

// "a=b&c=d" with everything but letters, digits and "-._~" percent-encoded.
std::string query_text(const std::vector<std::pair<std::string, std::string>>& parameters);

// A text of a stranger for a message: control characters and invalid UTF-8 become '?', and it is
// cut at max_bytes.
std::string printable(std::string_view text, std::size_t max_bytes = 200);

}  // namespace qx
