// SPDX-License-Identifier: Apache-2.0
#include "serve/http_session.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <ctime>
#include <deque>

namespace qx {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

constexpr std::size_t kPiece = std::size_t{64} << 10;  // written at a time
constexpr auto kWatchEvery = std::chrono::milliseconds(250);

std::string http_date() {
  // Not by strftime, which speaks the locale's language.
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm t{};
  if (gmtime_r(&now, &t) == nullptr) return "Thu, 01 Jan 1970 00:00:00 GMT";
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[t.tm_wday], t.tm_mday,
                     kMonths[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

}  // namespace

class HttpSession final : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(SessionHost& host, Tcp::socket socket)
      : host_(host),
        stream_(std::move(socket)),
        watch_timer_(host.context),
        read_timer_(host.context),
        // The parser bounds heads and bodies, and this what it has not taken yet: a chunk's
        // extension without end.
        buffer_(std::max(2 * host.limits.header_bytes, 2 * kPiece)) {
    host_.sessions.insert(this);
  }
  ~HttpSession() { host_.sessions.erase(this); }
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;

  void start() {
    ErrorCode ignored;
    stream_.socket().set_option(Tcp::no_delay(true), ignored);
    read_head();
  }

  // Before any request: the refusal is written, whatever is asked.
  void refuse_connection() {
    keep_alive_ = false;
    send(host_.handler->refuse(503, "too many connections", nullptr), true);
  }

  bool idle() const { return stage_ == Stage::kHead && !reading_started(); }

  void cut() {
    ErrorCode ignored;
    stage_ = Stage::kClosed;
    watch_timer_.cancel();
    read_timer_.cancel();
    stream_.socket().close(ignored);
    client_gone();
  }

  // --- what a call asks for; `serial` tells a late word for an earlier request ---
  void respond(std::uint64_t serial, ServerReply reply) {
    if (!answering(serial) || streaming_) return;
    const bool body = request_.method != "HEAD";
    send(std::move(reply), body);
  }

  void begin_stream(std::uint64_t serial, ServerReply head) {
    if (!answering(serial) || streaming_) return;
    streaming_ = true;
    std::string first = std::move(head.body);
    if (!chunked_)
      keep_alive_ = false;  // HTTP/1.0: the end of the connection is the end of the text
    queue(head_text(head, std::nullopt));
    write(serial, std::move(first));
  }

  void write(std::uint64_t serial, std::string text) {
    if (!answering(serial) || !streaming_ || ended_ || text.empty()) return;
    if (request_.method == "HEAD") return;
    if (queued_bytes_ + text.size() > host_.limits.unread_bytes) return cut();
    queue(chunked_ ? fmt::format("{:x}\r\n{}\r\n", text.size(), text) : std::move(text));
  }

  void end_stream(std::uint64_t serial) {
    if (!answering(serial) || !streaming_ || ended_) return;
    ended_ = true;
    if (chunked_ && request_.method != "HEAD") queue("0\r\n\r\n");
    pump();
  }

  void on_gone(std::uint64_t serial, std::function<void()> action) {
    if (answering(serial)) {
      gone_action_ = std::move(action);
    } else if (serial == gone_serial_ && !host_.ended) {
      action();
    }
  }

  void abandoned(std::uint64_t serial) {
    if (!answering(serial) || ended_) return;
    if (streaming_) return cut();  // without the last chunk, so that the client sees that it is cut
    respond(serial, host_.handler->refuse(500, "internal error", &request_));
  }

 private:
  enum class Stage { kHead, kBody, kAnswer, kLinger, kClosed };
  using Parser = http::request_parser<http::string_body>;

  bool answering(std::uint64_t serial) const {
    return serial == serial_ && stage_ == Stage::kAnswer;
  }
  bool reading_started() const { return buffer_.size() > 0 || (parser_ && parser_->got_some()); }

  void read_head() {
    if (host_.draining && buffer_.size() == 0) return cut();
    stage_ = Stage::kHead;
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(host_.limits.header_bytes));
    parser_->body_limit(host_.limits.body_bytes);
    request_ = {};
    limit_reading(host_.limits.head_time);
    head_bytes_ = 0;
    read_head_piece();
  }

  // The parser's own limit holds for what lies in the buffer at once, and not for headers that come
  // one by one: they are counted here.
  void read_head_piece() {
    parser_->eager(false);
    http::async_read_some(stream_, buffer_, *parser_,
                          [self = shared_from_this()](ErrorCode error, std::size_t bytes) {
                            if (self->stage_ == Stage::kHead) self->on_head_piece(error, bytes);
                          });
  }

  void on_head_piece(ErrorCode error, std::size_t bytes) {
    head_bytes_ += bytes;
    if (!error && head_bytes_ > host_.limits.header_bytes) error = http::error::header_limit;
    if (!error && !parser_->is_header_done()) return read_head_piece();
    on_head(error);
  }

  // Of the whole head or body, however it trickles in. The stream's own timer would close the
  // connection without a word.
  void limit_reading(std::chrono::milliseconds time) {
    stream_.expires_never();
    read_timer_.expires_after(time);
    read_timer_.async_wait([self = shared_from_this(), stage = stage_](ErrorCode error) {
      if (error || self->stage_ != stage) return;
      if (self->idle()) return self->cut();
      self->stream_.cancel();  // what was being read is heard of no more: the stage is another
      self->refuse(408, "the request took too long to arrive");
    });
  }

  void on_head(ErrorCode error) {
    read_timer_.cancel();
    if (error) return on_read_error(error);
    take_head();
    const auto& message = parser_->get();
    keep_alive_ = message.keep_alive() && message.version() >= 11;
    chunked_ = message.version() >= 11;
    if (message.version() > 11) return refuse(505, "expected HTTP/1.1");
    if (message.version() >= 11 && request_.header("host").empty()) {
      return refuse(400, "expected a Host header");
    }
    if (refuse_framing()) return;
    if (auto refusal = host_.handler->admit(request_)) {
      keep_alive_ = keep_alive_ && parser_->is_done();
      return send(std::move(*refusal), request_.method != "HEAD");
    }
    stage_ = Stage::kBody;
    if (lower(request_.header("expect")) == "100-continue") return say_continue();
    read_body();
  }

  // Where a body ends must be beyond doubt: who forwards requests and sees another end than this
  // server lets one client's bytes begin another's request (RFC 9112, 6.1 and 6.3).
  bool refuse_framing() {
    const auto encodings =
        std::count_if(request_.headers.begin(), request_.headers.end(),
                      [](const auto& h) { return h.first == "transfer-encoding"; });
    if (encodings == 0) return false;
    if (parser_->get().count(http::field::content_length) > 0) {
      refuse(400, "got Content-Length and Transfer-Encoding, expected one of them");
    } else if (encodings > 1 || parser_->get().version() < 11) {
      refuse(400, "expected one Transfer-Encoding, in a request of HTTP/1.1");
    } else if (lower(request_.header("transfer-encoding")) != "chunked") {
      refuse(501, "expected no Transfer-Encoding but chunked");
    } else {
      return false;
    }
    return true;
  }

  void take_head() {
    const auto& message = parser_->get();
    request_.method = std::string(message.method_string());
    std::string target(message.target());
    const std::size_t mark = target.find('?');
    if (mark != std::string::npos) {
      request_.query = target.substr(mark + 1);
      target.resize(mark);
    }
    request_.path = std::move(target);
    for (const auto& field : message) {
      request_.headers.emplace_back(lower({field.name_string().data(), field.name_string().size()}),
                                    std::string(field.value()));
    }
  }

  void say_continue() {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    stream_.expires_after(host_.limits.write_time);
    asio::async_write(stream_, asio::buffer(kContinue.data(), kContinue.size()),
                      [self = shared_from_this()](ErrorCode error, std::size_t) {
                        if (self->stage_ != Stage::kBody) return;
                        if (error) return self->cut();
                        self->read_body();
                      });
  }

  void read_body() {
    limit_reading(host_.limits.body_time);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](ErrorCode error, std::size_t) {
                       if (self->stage_ == Stage::kBody) self->on_body(error);
                     });
  }

  void on_body(ErrorCode error) {
    read_timer_.cancel();
    if (error) return on_read_error(error);
    request_.body = std::move(parser_->get().body());
    begin_answer();
    watch();
    host_.handler->handle(make_call());
  }

  void on_read_error(ErrorCode error) {
    if (error == http::error::end_of_stream || error == asio::error::operation_aborted)
      return cut();
    if (error == http::error::header_limit) {
      return refuse(431,
                    fmt::format("got a head of more than {} bytes", host_.limits.header_bytes));
    }
    if (error == http::error::body_limit) {
      return refuse(413, fmt::format("got a body of more than {} bytes", host_.limits.body_bytes));
    }
    if (error.category() == http::make_error_code(http::error::bad_method).category()) {
      return refuse(400, "got no valid HTTP request: " + error.message());
    }
    cut();
  }

  void refuse(int status, const std::string& why) {
    keep_alive_ = false;
    send(host_.handler->refuse(status, why, request_.path.empty() ? nullptr : &request_), true);
  }

  void begin_answer() {
    stage_ = Stage::kAnswer;
    ++serial_;
    streaming_ = ended_ = false;
    gone_action_ = nullptr;
  }

  // A whole reply, as the answer to the request at hand.
  void send(ServerReply reply, bool with_body) {
    if (stage_ != Stage::kAnswer) begin_answer();
    if (host_.draining) keep_alive_ = false;
    streaming_ = ended_ = true;
    queue(head_text(reply, reply.body.size()));
    if (with_body) {
      for (std::size_t at = 0; at < reply.body.size(); at += kPiece) {
        queue(reply.body.substr(at, kPiece));
      }
    }
    pump();
  }

  std::string head_text(const ServerReply& reply, std::optional<std::size_t> length) {
    std::string head = fmt::format("HTTP/1.1 {} {}\r\nServer: qx\r\nDate: {}\r\n", reply.status,
                                   reason_phrase(reply.status), http_date());
    const bool empty = reply.status == 204;  // has neither a type nor a length (RFC 9110, 15.3.5)
    if (!empty) head += fmt::format("Content-Type: {}\r\n", reply.content_type);
    for (const auto& [name, value] : reply.headers) head += fmt::format("{}: {}\r\n", name, value);
    if (length && !empty) {
      head += fmt::format("Content-Length: {}\r\n", *length);
    } else if (!length && chunked_) {
      head += "Transfer-Encoding: chunked\r\n";
    }
    if (host_.draining) keep_alive_ = false;
    head += keep_alive_ ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
    return head;
  }

  void queue(std::string text) {
    queued_bytes_ += text.size();
    out_.push_back(std::move(text));
    pump();
  }

  void pump() {
    if (writing_ || stage_ != Stage::kAnswer) return;
    if (out_.empty()) {
      if (ended_) finish_answer();
      return;
    }
    current_ = std::move(out_.front());
    out_.pop_front();
    while (!out_.empty() && current_.size() + out_.front().size() <= kPiece) {
      current_ += out_.front();
      out_.pop_front();
    }
    writing_ = true;
    stream_.expires_after(host_.limits.write_time);
    asio::async_write(stream_, asio::buffer(current_),
                      [self = shared_from_this()](ErrorCode error, std::size_t) {
                        self->writing_ = false;
                        if (self->stage_ == Stage::kClosed) return;
                        if (error) return self->cut();
                        self->queued_bytes_ -= self->current_.size();
                        self->stream_.expires_never();
                        self->pump();
                      });
  }

  void finish_answer() {
    gone_action_ = nullptr;
    watch_timer_.cancel();
    ErrorCode ignored;
    if (keep_alive_ && !host_.draining) return read_head();
    // The client reads what was said before it learns that nobody listens any more: a close with
    // unread input would throw the answer away (RFC 9112, 9.6).
    stage_ = Stage::kLinger;
    stream_.socket().shutdown(Tcp::socket::shutdown_send, ignored);
    stream_.expires_after(host_.limits.linger_time);
    discard();
  }

  void discard() {
    discarded_.resize(kPiece);
    stream_.async_read_some(asio::buffer(discarded_),
                            [self = shared_from_this()](ErrorCode error, std::size_t) {
                              if (self->stage_ != Stage::kLinger) return;
                              if (error) return self->cut();
                              self->discard();
                            });
  }

  // Notices while an answer is made that the client has gone.
  void watch() {
    watch_timer_.expires_after(kWatchEvery);
    watch_timer_.async_wait([self = shared_from_this(), serial = serial_](ErrorCode error) {
      if (error || !self->answering(serial)) return;
      if (self->peer_closed()) return self->cut();
      self->watch();
    });
  }

  // An end of file behind input that nobody has read yet (a next request) counts too.
  bool peer_closed() {
    const int socket = stream_.socket().native_handle();
#ifdef POLLRDHUP
    pollfd entry{socket, POLLRDHUP, 0};
    return ::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
#else
    char byte = 0;
    const ssize_t got = ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
#endif
  }

  void client_gone() {
    gone_serial_ = serial_;
    auto action = std::exchange(gone_action_, nullptr);
    if (action && !host_.ended) action();
  }

  std::shared_ptr<ServerCall> make_call();

  SessionHost& host_;
  beast::tcp_stream stream_;
  asio::steady_timer watch_timer_, read_timer_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  ServerRequest request_;
  Stage stage_ = Stage::kHead;
  bool keep_alive_ = false, chunked_ = false;
  bool streaming_ = false, ended_ = false, writing_ = false;
  std::uint64_t serial_ = 0, gone_serial_ = UINT64_MAX;
  std::deque<std::string> out_;
  std::string current_, discarded_;
  std::size_t queued_bytes_ = 0, head_bytes_ = 0;
  std::function<void()> gone_action_;
};

namespace {

// Carries words from any thread to the session on the server's.
class SessionCall final : public ServerCall {
 public:
  SessionCall(std::shared_ptr<HttpSession> session, std::uint64_t serial, ServerRequest request,
              asio::io_context& context)
      : session_(std::move(session)),
        serial_(serial),
        request_(std::move(request)),
        context_(context) {}
  // The session may end with this word, so its last reference goes along: a session belongs to the
  // server's thread.
  ~SessionCall() override {
    asio::post(context_,
               [session = std::move(session_), serial = serial_] { session->abandoned(serial); });
  }
  SessionCall(const SessionCall&) = delete;
  SessionCall& operator=(const SessionCall&) = delete;

  const ServerRequest& request() const override { return request_; }
  void respond(ServerReply reply) override {
    post([r = std::move(reply)](HttpSession& s, std::uint64_t serial) mutable {
      s.respond(serial, std::move(r));
    });
  }
  void begin_stream(ServerReply head) override {
    post([h = std::move(head)](HttpSession& s, std::uint64_t serial) mutable {
      s.begin_stream(serial, std::move(h));
    });
  }
  void write(std::string text) override {
    post([t = std::move(text)](HttpSession& s, std::uint64_t serial) mutable {
      s.write(serial, std::move(t));
    });
  }
  void end_stream() override {
    post([](HttpSession& s, std::uint64_t serial) { s.end_stream(serial); });
  }
  void on_gone(std::function<void()> action) override {
    post([a = std::move(action)](HttpSession& s, std::uint64_t serial) mutable {
      s.on_gone(serial, std::move(a));
    });
  }

 private:
  template <typename Word>
  void post(Word word) {
    asio::post(context_, [session = session_, serial = serial_, w = std::move(word)]() mutable {
      w(*session, serial);
    });
  }

  std::shared_ptr<HttpSession> session_;
  const std::uint64_t serial_;
  const ServerRequest request_;
  asio::io_context& context_;
};

}  // namespace

std::shared_ptr<ServerCall> HttpSession::make_call() {
  ServerRequest whole = std::move(request_);
  request_ = {.method = whole.method,
              .path = whole.path,
              .query = {},
              .headers = whole.headers,
              .body = {}};
  return std::make_shared<SessionCall>(shared_from_this(), serial_, std::move(whole),
                                       host_.context);
}

void start_session(SessionHost& host, Tcp::socket socket, bool refuse) {
  const auto session = std::make_shared<HttpSession>(host, std::move(socket));
  if (refuse) {
    session->refuse_connection();
  } else {
    session->start();
  }
}

void SessionHost::close_idle() {
  const std::vector<HttpSession*> all(sessions.begin(), sessions.end());
  for (HttpSession* session : all) {
    if (sessions.count(session) > 0 && session->idle()) session->cut();
  }
}

void SessionHost::close_all() {
  const std::vector<HttpSession*> all(sessions.begin(), sessions.end());
  for (HttpSession* session : all) {
    if (sessions.count(session) > 0) session->cut();
  }
}

std::string_view ServerRequest::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return value;
  }
  return {};
}

std::string_view reason_phrase(int status) {
  if (status < 100 || status > 599) return "Status";
  const auto text = http::obsolete_reason(http::int_to_status(static_cast<unsigned>(status)));
  return {text.data(), text.size()};
}

}  // namespace qx
