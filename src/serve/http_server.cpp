// SPDX-License-Identifier: Apache-2.0
#include "serve/http_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <unordered_set>

#include "base/error.h"
#include "serve/http_session.h"

namespace qx {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;

struct ServerContext {
  asio::io_context io{1};
};

struct HttpServer::State final : ServerContext,  // before all that refers to it
                                 SessionHost,
                                 std::enable_shared_from_this<HttpServer::State> {
  explicit State(ServerLimits the_limits)
      : SessionHost(the_limits, io), acceptor(io), accept_timer(io), tick_timer(io) {}

  void accept() {
    if (draining) return;
    acceptor.async_accept([self = shared_from_this()](auto error, Tcp::socket socket) {
      self->on_accept(error, std::move(socket));
    });
  }

  void on_accept(boost::system::error_code error, Tcp::socket socket) {
    if (draining) return;
    if (error) {
      // No descriptors left, or a client that went before it was accepted: try again a little later.
      accept_timer.expires_after(std::chrono::milliseconds(100));
      accept_timer.async_wait([self = shared_from_this()](auto e) {
        if (!e) self->accept();
      });
      return;
    }
    // Beyond the limit a few more are told so; beyond those, cut.
    constexpr std::size_t kTold = 32;
    if (sessions.size() < limits.connections + kTold) {
      start_session(*this, std::move(socket), sessions.size() >= limits.connections);
    }
    accept();
  }

  void tick_later() {
    tick_timer.expires_after(std::chrono::milliseconds(50));
    tick_timer.async_wait([self = shared_from_this()](auto error) {
      if (error) return;
      if (self->tick) self->tick();
      if (self->closed || (self->draining && self->sessions.empty())) {
        self->io.stop();
      } else {
        self->tick_later();
      }
    });
  }

  Tcp::acceptor acceptor;
  asio::steady_timer accept_timer, tick_timer;
  std::function<void()> tick;
  bool closed = false;
};

HttpServer::HttpServer(const std::string& host, std::uint16_t port, ServerLimits limits)
    : state_(std::make_shared<State>(limits)) {
  boost::system::error_code error;
  const std::string place = fmt::format("{}:{}", host, port);
  Tcp::resolver resolver(state_->io);
  const auto found = resolver.resolve(
      host, std::to_string(port), Tcp::resolver::passive | Tcp::resolver::numeric_service, error);
  if (error || found.empty()) {
    fail(place, "got no address for this host ({}), expected a name or an address of this machine",
         error.message());
  }
  const Tcp::endpoint endpoint = found.begin()->endpoint();
  Tcp::acceptor& acceptor = state_->acceptor;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(Tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    fail(place, "cannot listen here: {}; expected a free port (another --port, or 0 for any)",
         error.message());
  }
}

HttpServer::~HttpServer() {
  // Pending operations hold the state; they end here. What they would tell may be about what has gone
  // already: the handler, its engines.
  state_->ended = true;
  close();
  state_->io.restart();
  state_->io.poll();
}

std::string HttpServer::address() const {
  boost::system::error_code error;
  return state_->acceptor.local_endpoint(error).address().to_string();
}

std::uint16_t HttpServer::port() const {
  boost::system::error_code error;
  return state_->acceptor.local_endpoint(error).port();
}

bool HttpServer::loopback() const {
  boost::system::error_code error;
  return state_->acceptor.local_endpoint(error).address().is_loopback();
}

void HttpServer::run(ServerHandler& handler, const std::function<void()>& tick) {
  state_->handler = &handler;
  state_->tick = tick;
  state_->accept();
  state_->tick_later();
  for (;;) {
    try {
      state_->io.run();
      break;
    } catch (const std::exception&) {
      // One connection's (memory, most likely): it is gone with its handler, the others go on.
      state_->tick_later();
    }
  }
  state_->tick = nullptr;
}

void HttpServer::drain() {
  if (state_->draining) return;
  state_->draining = true;
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
  state_->accept_timer.cancel();
  state_->close_idle();
}

void HttpServer::close() {
  drain();
  state_->closed = true;
  state_->close_all();
}

}  // namespace qx
