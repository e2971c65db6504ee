// Pages of a split from the rows service: retries, waiting as asked, redirects, and to whom the
// token goes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/random.h"
#include "hub/http.h"
#include "hub/rows_page.h"
#include "hub/settings.h"

namespace qx {

struct RetryPolicy {
  int tries = 8;  // of one page
  // Before try n + 1: first * 2^(n-1), at most `longest`, times a random factor in [0.5, 1).
  std::chrono::milliseconds first{1000}, longest{60'000};
  // A service that asks to wait (Retry-After) is obeyed up to this, with up to a second more by
  // chance; one that asks for longer ends the fetch. The Hub's windows are five minutes long.
  std::chrono::seconds longest_asked{900};
};

struct RowsAnswer {
  RowsPage page;
  std::string revision;  // commit of the data set's repository (X-Revision); empty when not said
};

class RowsClient {
 public:
  using Sleep = std::function<void(std::chrono::milliseconds)>;
  using Notice = std::function<void(const std::string&)>;

  // get, sleep: the network and the clock. notice: told about longer waits. seed: of the random
  // part of waiting, so that many clients do not come back at the same moment.
  RowsClient(HubSettings settings, HttpGet get, Sleep sleep, Notice notice, std::uint64_t seed,
             const RetryPolicy& policy = {});

  // Fails: Error naming the address when the service refuses, answers what cannot be used, or still
  // fails after the last try. Throws Interrupted. No message holds the token.
  RowsAnswer fetch(const PageRequest& request);

  std::int64_t requests() const { return requests_; }
  std::int64_t retries() const { return retries_; }
  const HubSettings& settings() const { return settings_; }

 private:
  struct Outcome;
  Url page_url(const PageRequest& request) const;
  HttpReply get_following(const Url& url, const std::string& place);
  Outcome attempt(const Url& url, const PageRequest& request, const std::string& place);
  void wait(int tries_done, const Outcome& outcome, const std::string& place);
  std::string without_token(std::string text) const;

  HubSettings settings_;
  HttpGet get_;
  Sleep sleep_;
  Notice notice_;
  Random random_;
  RetryPolicy policy_;
  std::int64_t requests_ = 0, retries_ = 0;
};

// Sleeps in short steps. Throws Interrupted on Ctrl-C.
void interruptible_sleep(std::chrono::milliseconds time);

}  // namespace qx
