// An HTTP/1.1 server that stands strangers: every wait has a deadline, every buffer a bound, and no
// connection holds a thread. It knows nothing of what is served. Boost.Beast reads the requests.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qx {

struct ServerLimits {
  std::size_t header_bytes = std::size_t{16} << 10;  // of a request line and all headers
  std::size_t body_bytes = std::size_t{8} << 20;
  std::size_t connections = 256;
  // What a reader that lags behind may leave unread before it counts as gone.
  std::size_t unread_bytes = std::size_t{8} << 20;
  std::chrono::milliseconds head_time{15'000};   // for all of a head, and idle between requests
  std::chrono::milliseconds body_time{30'000};   // for all of a body
  std::chrono::milliseconds write_time{30'000};  // for each 64 kB of an answer
  std::chrono::milliseconds linger_time{2'000};  // for a refused client to read the refusal
};

struct ServerRequest {
  std::string method, path, query;  // as sent, "/v1/models" and what follows '?'
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
  std::string_view header(std::string_view lower_case_name) const;  // the first; "" without
};

struct ServerReply {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers = {};  // further ones, free of newlines
  std::string body = {};
};

// One request and its answer, which is either one reply, or a stream: begin, write.., end. One that
// is dropped without an answer answers with status 500.
// Threads: any, at any time; nothing blocks. What comes after the end, or after the client went, is
// ignored.
class ServerCall {
 public:
  virtual ~ServerCall() = default;
  virtual const ServerRequest& request() const = 0;
  virtual void respond(ServerReply reply) = 0;
  virtual void begin_stream(ServerReply head) = 0;  // its body is the first piece
  virtual void write(std::string text) = 0;
  virtual void end_stream() = 0;
  // Called once, on the server's thread, when the client goes away before the answer's end (also
  // when it has gone already). The last action given counts. None is called once the server goes.
  virtual void on_gone(std::function<void()> action) = 0;
};

// What is served. Threads: called on the server's thread; must not block it for long.
class ServerHandler {
 public:
  virtual ~ServerHandler() = default;
  // Before the body is read: a reply refuses the request.
  virtual std::optional<ServerReply> admit(const ServerRequest& head) = 0;
  virtual void handle(std::shared_ptr<ServerCall> call) = 0;
  // A request that HTTP itself refuses: bad syntax, too large, too slow, too many connections.
  // head: what is known of it, or null.
  virtual ServerReply refuse(int status, const std::string& why, const ServerRequest* head) = 0;
};

class HttpServer {
 public:
  // Binds; clients may connect from now on, and wait for run(). host: a name or an address; port 0: any that is free.
  // Fails: Error naming host and port.
  HttpServer(const std::string& host, std::uint16_t port, ServerLimits limits);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::string address() const;  // the one bound, "127.0.0.1" or "::1"
  std::uint16_t port() const;
  bool loopback() const;

  // Serves on this thread until drain() and the end of all connections, or close(). tick: called
  // about every 50 ms. The handler is called by run() alone; calls that it has kept must have gone
  // before the server goes.
  void run(ServerHandler& handler, const std::function<void()>& tick);

  // Both on the server's thread (in tick or a handler).
  void drain();  // accept nobody, close what is idle; answers in progress go on to their end
  void close();  // cut everything

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// "Not Found" of 404; "Status" of what HTTP does not name.
std::string_view reason_phrase(int status);

}  // namespace qx
