// One GET at a time over HTTP or HTTPS, within limits of time and size. Follows no redirects and
// repeats nothing: what an answer means is for the caller to say.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hub/url.h"

namespace qx {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  Url url;
  HttpHeaders headers;
};

enum class HttpProblem {
  kNone,
  kConnection,   // no connection: name, network, or refused
  kInterrupted,  // the connection broke before the answer was whole
  kTimeout,      // nothing for too long, or too long in all
  kTooLarge,     // more bytes than allowed
  kCertificate,  // TLS: whom we talk to could not be verified
  kTls,          // TLS failed otherwise
};

struct HttpReply {
  HttpProblem problem = HttpProblem::kNone;
  std::string detail;   // of a problem, for a person
  int status = 0;       // when there is no problem
  HttpHeaders headers;  // names in lower case
  std::string body;

  // The first header of that name (lower case), or "".
  std::string_view header(std::string_view name) const;
};

struct HttpLimits {
  std::chrono::milliseconds connect{10'000};  // for each address of the host
  std::chrono::milliseconds idle{30'000};     // without a byte
  std::chrono::milliseconds total{180'000};   // from the request to the answer's last byte
  std::size_t body_bytes = std::size_t{32} << 20;
};

// A proxy, as https_proxy and no_proxy name it.
struct HttpProxy {
  std::string host;  // empty: none
  int port = 0;
  std::string user, password;
};

// What answers a request; tests put their own in its place. Throws Interrupted on Ctrl-C.
using HttpGet = std::function<HttpReply(const HttpRequest&)>;

// Keeps the connection to the last host open for the next request. An unknown server certificate
// is a problem, never accepted; OpenSSL's own variables SSL_CERT_FILE and SSL_CERT_DIR replace the
// system's certificates. Threads: one at a time.
class HttpClient {
 public:
  // proxy_for: the proxy of an address.
  HttpClient(const HttpLimits& limits, std::function<HttpProxy(const Url&)> proxy_for);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Throws Interrupted when Ctrl-C arrives meanwhile. Network trouble is in the reply.
  HttpReply get(const HttpRequest& request);

 private:
  struct Connection;
  HttpLimits limits_;
  std::function<HttpProxy(const Url&)> proxy_for_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace qx
