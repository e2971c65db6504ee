// SPDX-License-Identifier: Apache-2.0
#include "serve/serve_metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace qx {
namespace {

std::string label_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
  return out;
}

void head(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

}  // namespace

void ServeMetrics::Histogram::observe(double value) {
  const auto at = std::lower_bound(kBounds.begin(), kBounds.end(), value) - kBounds.begin();
  ++counts[static_cast<std::size_t>(at)];
  sum += value;
}

void ServeMetrics::count_request(std::string_view route, int status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++requests_[{std::string(route), status}];
}

void ServeMetrics::observe_first_token(double seconds) {
  const std::lock_guard<std::mutex> lock(mutex_);
  first_token_.observe(seconds);
}

void ServeMetrics::observe_request(double seconds) {
  const std::lock_guard<std::mutex> lock(mutex_);
  request_.observe(seconds);
}

void ServeMetrics::count_cancelled() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++cancelled_;
}

void ServeMetrics::write(std::string& out, std::string_view name, std::string_view help,
                         const Histogram& histogram) {
  head(out, name, "histogram", help);
  std::int64_t total = 0;
  for (std::size_t i = 0; i < kBounds.size(); ++i) {
    total += histogram.counts[i];
    out += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, kBounds[i], total);
  }
  total += histogram.counts.back();
  out += fmt::format("{}_bucket{{le=\"+Inf\"}} {}\n{}_sum {}\n{}_count {}\n", name, total, name,
                     histogram.sum, name, total);
}

std::string ServeMetrics::text(std::span<const std::pair<std::string, EngineStats>> engines) const {
  std::string out;
  const auto each = [&](std::string_view name, std::string_view type, std::string_view help,
                        auto value) {
    head(out, name, type, help);
    for (const auto& [model, stats] : engines) {
      out += fmt::format("{}{{model=\"{}\"}} {}\n", name, label_text(model), value(stats));
    }
  };
  using S = EngineStats;
  each("qx_tasks_waiting", "gauge", "Tasks that wait for a place.",
       [](const S& s) { return s.waiting; });
  each("qx_texts_active", "gauge", "Texts being made.", [](const S& s) { return s.active; });
  each("qx_positions_reserved", "gauge", "Positions of context reserved by the texts being made.",
       [](const S& s) { return s.positions; });
  each("qx_prefix_bytes", "gauge", "Keys and values kept for later prompts.",
       [](const S& s) { return s.prefix_bytes; });
  each("qx_prompt_tokens_total", "counter", "Prompt tokens that went through the model.",
       [](const S& s) { return s.prompt_tokens; });
  each("qx_cached_tokens_total", "counter", "Prompt tokens whose keys and values were kept.",
       [](const S& s) { return s.cached_tokens; });
  each("qx_generated_tokens_total", "counter", "Tokens made.",
       [](const S& s) { return s.generated_tokens; });
  each("qx_drafted_tokens_total", "counter", "Guesses that went through the model.",
       [](const S& s) { return s.drafted_tokens; });
  each("qx_accepted_tokens_total", "counter", "Guesses that became part of a text.",
       [](const S& s) { return s.accepted_tokens; });
  each("qx_passes_total", "counter", "Forward passes.", [](const S& s) { return s.passes; });
  each("qx_pass_rows_total", "counter", "Tokens of all forward passes.",
       [](const S& s) { return s.pass_rows; });
  each("qx_busy_seconds_total", "counter", "Time in forward passes and sampling.",
       [](const S& s) { return s.busy_seconds; });

  const std::lock_guard<std::mutex> lock(mutex_);
  head(out, "qx_requests_total", "counter", "Requests by route and status.");
  for (const auto& [key, count] : requests_) {
    out += fmt::format("qx_requests_total{{route=\"{}\",status=\"{}\"}} {}\n",
                       label_text(key.first), key.second, count);
  }
  head(out, "qx_requests_cancelled_total", "counter", "Requests whose client went away.");
  out += fmt::format("qx_requests_cancelled_total {}\n", cancelled_);
  write(out, "qx_time_to_first_token_seconds", "From the request to its first token.",
        first_token_);
  write(out, "qx_request_seconds", "From the request to the end of its answer.", request_);
  return out;
}

}  // namespace qx
