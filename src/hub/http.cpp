// The only file that includes httplib.h.
// SPDX-License-Identifier: Apache-2.0
#include "hub/http.h"

#include <httplib.h>
#include <signal.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/build_info.h"
#include "base/error.h"
#include "base/interrupt.h"

namespace qx {
namespace {
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::string lower_name(const std::string& name) {
  std::string out = name;
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// A connection that the other side closed is an error of this request, not a signal to the process;
// Ctrl-C belongs to the thread that watches.
void block_signals_of_this_thread() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int s : {SIGPIPE, SIGINT, SIGTERM}) sigaddset(&signals, s);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

constexpr int kNoSocket = -1;
constexpr std::size_t kMaxHeaders = 100;

}  // namespace

std::string_view HttpReply::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

struct HttpClient::Connection {
  Connection(const Url& to, const HttpLimits& limits, const HttpProxy& proxy)
      : url(to), client(to.origin()) {
    client.set_follow_location(false);
    client.set_keep_alive(true);
    client.set_url_encode(false);  // the target is encoded already
    client.set_connection_timeout(limits.connect);
    client.set_read_timeout(limits.idle);
    client.set_write_timeout(limits.idle);
    client.set_tcp_nodelay(true);
    client.enable_server_certificate_verification(true);
    if (!proxy.host.empty()) {
      client.set_proxy(proxy.host, proxy.port);
      if (!proxy.user.empty()) client.set_proxy_basic_auth(proxy.user, proxy.password);
    }
    // Known from its creation on, so that a connection that is being made can be ended too.
    client.set_socket_options([this](socket_t s) { socket.store(static_cast<int>(s)); });
  }

  // Makes every read, write or handshake that waits return at once.
  void end() {
    const int s = socket.load();
    if (s != kNoSocket) ::shutdown(s, SHUT_RDWR);
  }

  Url url;
  httplib::Client client;
  std::atomic<int> socket{kNoSocket};
};

namespace {

// What a request did, besides what the library says of it.
struct Transfer {
  std::string body;
  bool too_large = false;
};

HttpReply reply_of(httplib::Result& result, Transfer& transfer, bool timed_out,
                   const HttpLimits& limits) {
  HttpReply reply;
  const auto problem = [&reply](HttpProblem kind, std::string detail) {
    reply.problem = kind;
    reply.detail = std::move(detail);
    return reply;
  };
  if (transfer.too_large) {
    return problem(HttpProblem::kTooLarge,
                   fmt::format("the answer is larger than {} bytes", limits.body_bytes));
  }
  if (timed_out) {
    return problem(HttpProblem::kTimeout,
                   fmt::format("no whole answer within {} ms", limits.total.count()));
  }
  switch (result.error()) {
    case httplib::Error::Success:
      break;
    case httplib::Error::Connection:
      return problem(HttpProblem::kConnection, "cannot connect");
    case httplib::Error::ConnectionTimeout:
      return problem(HttpProblem::kTimeout, "no connection in time");
    case httplib::Error::SSLServerVerification:
      return problem(HttpProblem::kCertificate, "the server's certificate cannot be verified");
    case httplib::Error::SSLLoadingCerts:
      return problem(HttpProblem::kCertificate, "the certificates to trust cannot be loaded");
    case httplib::Error::SSLConnection:
      return problem(HttpProblem::kTls, "the TLS handshake failed");
    default:
      return problem(HttpProblem::kInterrupted, "the connection broke or fell silent");
  }
  reply.status = result->status;
  for (const auto& [name, value] : result->headers) {
    if (reply.headers.size() < kMaxHeaders) reply.headers.emplace_back(lower_name(name), value);
  }
  reply.body = std::move(transfer.body);
  return reply;
}

}  // namespace

HttpClient::HttpClient(const HttpLimits& limits, std::function<HttpProxy(const Url&)> proxy_for)
    : limits_(limits), proxy_for_(std::move(proxy_for)) {}
HttpClient::~HttpClient() = default;

HttpReply HttpClient::get(const HttpRequest& request) {
  check_interrupt();
  if (connection_ == nullptr || !connection_->url.same_origin(request.url)) {
    connection_ = std::make_unique<Connection>(request.url, limits_, proxy_for_(request.url));
  }
  Connection& connection = *connection_;
  httplib::Headers headers{{"User-Agent", std::string("qx/") + build_info().version}};
  for (const auto& [name, value] : request.headers) headers.emplace(name, value);

  Transfer transfer;
  httplib::Result result(nullptr, httplib::Error::Unknown);
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  // The library waits for bytes without looking at signals or at a limit for all of it, so a second
  // thread talks and this one watches.
  std::thread talk([&] {
    block_signals_of_this_thread();
    result = connection.client.Get(
        request.url.target.c_str(), headers,
        [&](const httplib::Response& response) {
          const auto length = response.get_header_value("Content-Length");
          const bool long_number = length.size() > 18;
          transfer.too_large =
              long_number || std::strtoull(length.c_str(), nullptr, 10) > limits_.body_bytes;
          return !transfer.too_large;
        },
        [&](const char* data, std::size_t size) {
          transfer.too_large = size > limits_.body_bytes - transfer.body.size();
          if (!transfer.too_large) transfer.body.append(data, size);
          return !transfer.too_large;
        });
    const std::lock_guard lock(mutex);
    done = true;
    ended.notify_one();
  });
  const auto deadline = Clock::now() + limits_.total;
  bool timed_out = false;
  {
    std::unique_lock lock(mutex);
    while (!ended.wait_for(lock, milliseconds(50), [&] { return done; })) {
      timed_out = timed_out || Clock::now() >= deadline;
      // Again and again, as the library may try the host's next address.
      if (timed_out || interrupt_requested()) connection.end();
    }
  }
  talk.join();
  HttpReply reply = reply_of(result, transfer, timed_out, limits_);
  if (reply.problem != HttpProblem::kNone) connection_.reset();
  check_interrupt();
  return reply;
}

}  // namespace qx
