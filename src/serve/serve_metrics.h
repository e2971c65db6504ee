// What the server counts, in Prometheus' text format (version 0.0.4).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "serve/engine.h"

namespace qx {

// Threads: any.
class ServeMetrics {
 public:
  // route: one of the server's own names, never a client's text.
  void count_request(std::string_view route, int status);
  void observe_first_token(double seconds);
  void observe_request(double seconds);
  void count_cancelled();

  // engines: each with the model's name.
  std::string text(std::span<const std::pair<std::string, EngineStats>> engines) const;

 private:
  static constexpr std::array kBounds = {0.01, 0.025, 0.05, 0.1,  0.25, 0.5,   1.0,
                                         2.5,  5.0,   10.0, 30.0, 60.0, 120.0, 300.0};
  struct Histogram {
    std::array<std::int64_t, kBounds.size() + 1> counts = {};
    double sum = 0;
    void observe(double value);
  };
  static void write(std::string& out, std::string_view name, std::string_view help,
                    const Histogram& histogram);

  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::int64_t> requests_;
  Histogram first_token_, request_;
  std::int64_t cancelled_ = 0;
};

}  // namespace qx
