// What the routes of the server share. For service*.cpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "serve/generation_task.h"
#include "serve/service.h"

namespace qx {

struct ServeService::Route {
  std::string_view path, method, name;
  void (ServeService::*run)(const Flight&);
};

// Threads that read and prepare requests, so that a large one does not hold up the others'.
struct ServeService::Workers {
  boost::asio::thread_pool pool{2};
};

struct ServeService::Flight {
  using Clock = std::chrono::steady_clock;

  Flight(ServeService& the_service, const Route& the_route, std::shared_ptr<ServerCall> the_call)
      : service(the_service), route(the_route), call(std::move(the_call)) {}
  ~Flight() { --service.in_flight_; }
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;

  // Between the steps of preparing an answer, any of which may take long. Fails: ApiError when the
  // client has gone, the request's time is over, or the server ends.
  void check() const;
  Clock::time_point deadline() const { return begun + service.options_.request_time; }

  // Counts and logs the end of the request, as far as the log takes it.
  void ended(int status) const noexcept;

  ServeService& service;
  const Route& route;
  const std::shared_ptr<ServerCall> call;
  const Clock::time_point begun = Clock::now();  // once it is read
  const std::shared_ptr<GenerationTicket> ticket = std::make_shared<GenerationTicket>();
  std::weak_ptr<Flight> self = {};
  std::shared_ptr<Flight> lock() const { return self.lock(); }
};

}  // namespace qx
