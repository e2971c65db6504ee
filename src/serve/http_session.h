// One connection of the HTTP server. For http_server.cpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <unordered_set>

#include "serve/http_server.h"

namespace qx {

class HttpSession;

// What the connections of one server share. Threads: the server's.
struct SessionHost {
  SessionHost(ServerLimits the_limits, boost::asio::io_context& the_context)
      : limits(the_limits), context(the_context) {}
  const ServerLimits limits;
  ServerHandler* handler = nullptr;  // there before any session
  boost::asio::io_context& context;
  bool draining = false;
  bool ended = false;  // what is still to be done is done without a word to anybody
  std::unordered_set<HttpSession*> sessions = {};  // those that live

  void close_idle();
  void close_all();
};

// Reads requests and writes answers until the connection ends. refuse: it is one too many.
// Lifetime: the session lives by its own pending operations.
void start_session(SessionHost& host, boost::asio::ip::tcp::socket socket, bool refuse);

}  // namespace qx
