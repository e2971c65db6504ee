// SPDX-License-Identifier: Apache-2.0
#include "hub/rows_client.h"

#include <algorithm>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/interrupt.h"

namespace qx {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kMaxRedirects = 5;
constexpr milliseconds kWorthTelling{5000};

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::string problem_text(const HttpReply& reply) {
  std::string text = reply.detail;
  if (reply.problem == HttpProblem::kConnection) {
    text += "; QX_HUB_ROWS or HF_ENDPOINT name another service, https_proxy a proxy";
  }
  if (reply.problem == HttpProblem::kCertificate) {
    text += "; SSL_CERT_FILE names a file of certificates to trust instead of the system's";
  }
  return text;
}

std::string status_text(const HttpReply& reply) {
  std::string text = fmt::format("status {}", reply.status);
  const std::string_view code = reply.header("x-error-code");
  if (!code.empty()) text += ", " + printable(code, 60);
  const std::string message = service_message(reply.body);
  if (!message.empty()) text += ": " + message;
  return text;
}

}  // namespace

// An answer, or why there is none.
struct RowsClient::Outcome {
  std::optional<RowsAnswer> answer;
  std::string text;                   // of a failure
  std::optional<std::int64_t> asked;  // seconds to wait
};

RowsClient::RowsClient(HubSettings settings, HttpGet get, Sleep sleep, Notice notice,
                       std::uint64_t seed, const RetryPolicy& policy)
    : settings_(std::move(settings)),
      get_(std::move(get)),
      sleep_(std::move(sleep)),
      notice_(std::move(notice)),
      random_(seed),
      policy_(policy) {}

Url RowsClient::page_url(const PageRequest& request) const {
  Url url = settings_.service;
  url.target += "/rows?" + query_text({{"dataset", request.dataset},
                                       {"config", request.config},
                                       {"split", request.split},
                                       {"offset", std::to_string(request.offset)},
                                       {"length", std::to_string(request.length)}});
  return url;
}

std::string RowsClient::without_token(std::string text) const {
  const std::string& token = settings_.token;
  if (token.empty()) return text;
  for (std::size_t at = text.find(token); at != std::string::npos; at = text.find(token, at)) {
    text.replace(at, token.size(), "***");
  }
  return text;
}

HttpReply RowsClient::get_following(const Url& url, const std::string& place) {
  Url at = url;
  for (int redirects = 0;; ++redirects) {
    HttpRequest request{at, {{"Accept", "application/json"}}};
    // Whoever a redirect leads to has no claim to the token.
    if (!settings_.token.empty() && at.same_origin(settings_.service)) {
      request.headers.emplace_back("Authorization", "Bearer " + settings_.token);
    }
    ++requests_;
    HttpReply reply = get_(request);
    if (reply.problem != HttpProblem::kNone || !is_redirect(reply.status)) return reply;
    if (redirects == kMaxRedirects) fail(place, "got more than {} redirects", kMaxRedirects);
    const Url next =
        resolve_location(at, without_token(std::string(reply.header("location"))), place);
    if (at.tls && !next.tls) {
      fail(place, "got a redirect from https to {}, which is not followed", next.origin());
    }
    at = next;
  }
}

RowsClient::Outcome RowsClient::attempt(const Url& url, const PageRequest& request,
                                        const std::string& place) {
  const HttpReply reply = get_following(url, place);
  switch (reply.problem) {
    case HttpProblem::kNone:
      break;
    case HttpProblem::kTooLarge:
    case HttpProblem::kCertificate:
      fail(place, "{}", problem_text(reply));
    default:
      return {std::nullopt, problem_text(reply), std::nullopt};
  }
  const int status = reply.status;
  if (status == 200) {
    PageFault fault;
    auto page = parse_rows_page(reply.body, request, fault);
    if (page) {
      return {RowsAnswer{std::move(*page), printable(reply.header("x-revision"), 100)}, {}, {}};
    }
    if (!fault.again) fail(place, "{}", without_token(fault.text));
    return {std::nullopt, without_token(fault.text), std::nullopt};
  }
  const std::string text = without_token(status_text(reply));
  if (status == 408 || status == 425 || status == 429 || status >= 500) {
    return {std::nullopt, text, wait_asked(reply)};
  }
  if (status == 401 || status == 403 || status == 404) {
    fail(place, "got {}; {}", text,
         settings_.token.empty()
             ? "a private or gated data set needs a token in HF_TOKEN"
             : "the token of " + settings_.token_from + " may lack access to this data set");
  }
  fail(place, "got {}, expected rows", text);
}

void RowsClient::wait(int tries_done, const Outcome& outcome, const std::string& place) {
  const double chance = random_.uniform();
  milliseconds time;
  if (outcome.asked) {
    if (*outcome.asked > policy_.longest_asked.count()) {
      fail(place,
           "got {}; it asks to wait {} s, which is longer than {} s: try again later, what was "
           "fetched is kept",
           outcome.text, *outcome.asked, policy_.longest_asked.count());
    }
    time = seconds(*outcome.asked) + milliseconds(static_cast<int>(chance * 1000));
  } else {
    auto base = policy_.first;
    for (int i = 1; i < tries_done && base < policy_.longest; ++i) base *= 2;
    const double factor = 0.5 + 0.5 * chance;
    time = milliseconds(static_cast<std::int64_t>(
        factor * static_cast<double>(std::min(base, policy_.longest).count())));
  }
  if (time >= kWorthTelling) {
    notice_(fmt::format("{}; waiting {} s before try {} of {}", outcome.text,
                        (time.count() + 999) / 1000, tries_done + 1, policy_.tries));
  }
  sleep_(time);
}

RowsAnswer RowsClient::fetch(const PageRequest& request) {
  const Url url = page_url(request);
  const std::string place = url.text();
  for (int tries = 1;; ++tries) {
    Outcome outcome = attempt(url, request, place);
    if (outcome.answer) return std::move(*outcome.answer);
    if (tries == policy_.tries) {
      fail(place, "{} tries failed, the last one: {}; what was fetched is kept", tries,
           outcome.text);
    }
    ++retries_;
    wait(tries, outcome, place);
  }
}

void interruptible_sleep(milliseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  for (;;) {
    check_interrupt();
    const auto left = until - std::chrono::steady_clock::now();
    if (left <= left.zero()) return;
    std::this_thread::sleep_for(
        std::min<std::chrono::steady_clock::duration>(left, milliseconds(50)));
  }
}

}  // namespace qx
