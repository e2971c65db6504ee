// Retries, waits, redirects and the token: against answers made up here, without network or clock.
// SPDX-License-Identifier: Apache-2.0
#include "hub/rows_client.h"

#include <gtest/gtest.h>

#include <deque>

#include "base/error.h"
#include "support/rows_server.h"

namespace qx {
namespace {
using std::chrono::milliseconds;

const PageRequest kPage{"baber/piqa", "default", "validation", 0, 100};

HttpReply reply_from(const ServerAnswer& answer) {
  HttpReply reply;
  reply.status = answer.status;
  reply.body = answer.body;
  for (auto [name, value] : answer.headers) {
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    reply.headers.emplace_back(name, value);
  }
  return reply;
}

HttpReply good() {
  return reply_from(
      hub_answer({"/rows", "baber/piqa", "default", "validation", 0, 100, "", 0}, 30));
}

HttpReply status(int code, HttpHeaders headers = {}) {
  HttpReply reply = reply_from(hub_error(code, "SomeCode", "some message"));
  for (auto& header : headers) reply.headers.push_back(std::move(header));
  return reply;
}

HttpReply trouble(HttpProblem problem) {
  HttpReply reply;
  reply.problem = problem;
  reply.detail = "trouble";
  return reply;
}

HubSettings hub(const std::string& url, const std::string& token = "") {
  HubSettings settings;
  settings.service = parse_url(url, "test");
  while (settings.service.target.ends_with('/')) settings.service.target.pop_back();
  settings.token = token;
  settings.token_from = "HF_TOKEN";
  return settings;
}

// A client whose network is a list of answers (the last one for ever) and whose clock only notes.
struct Bench {
  explicit Bench(std::deque<HttpReply> list, HubSettings with = hub("https://rows.example"))
      : replies(std::move(list)),
        client(
            with,
            [this](const HttpRequest& request) {
              requests.push_back(request);
              HttpReply next = replies.front();
              if (replies.size() > 1) replies.pop_front();
              return next;
            },
            [this](milliseconds time) { waits.push_back(time); },
            [this](const std::string& text) { notices.push_back(text); }, 7) {}

  std::string error() {
    try {
      client.fetch(kPage);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }

  std::string authorization(std::size_t i) const {
    for (const auto& [name, value] : requests.at(i).headers) {
      if (name == "Authorization") return value;
    }
    return "";
  }

  std::deque<HttpReply> replies;
  std::vector<HttpRequest> requests;
  std::vector<milliseconds> waits;
  std::vector<std::string> notices;
  RowsClient client;
};

HttpReply redirect(const std::string& to, int code = 302) {
  HttpReply reply;
  reply.status = code;
  reply.headers = {{"location", to}};
  return reply;
}

TEST(RowsClient, AsksAsDocumented) {
  Bench b({good()});
  const RowsAnswer answer = b.client.fetch(kPage);
  EXPECT_EQ(answer.page.rows.size(), 30u);
  EXPECT_EQ(answer.revision, "abc123");
  ASSERT_EQ(b.requests.size(), 1u);
  EXPECT_EQ(b.requests[0].url.text(),
            "https://rows.example/rows?dataset=baber%2Fpiqa&config=default&split=validation&"
            "offset=0&length=100");
  EXPECT_EQ(b.authorization(0), "");
  EXPECT_TRUE(b.waits.empty());
}

TEST(RowsClient, TriesAgainAfterPassingTrouble) {
  HttpReply html = good(), cut = good();
  html.body = "<html>";
  cut.body.resize(cut.body.size() / 2);
  Bench b({status(500), status(503), status(429), html, cut, trouble(HttpProblem::kConnection),
           trouble(HttpProblem::kInterrupted), good()});
  EXPECT_EQ(b.client.fetch(kPage).page.rows.size(), 30u);
  EXPECT_EQ(b.requests.size(), 8u);
  EXPECT_EQ(b.client.retries(), 7);
}

TEST(RowsClient, WaitsGrowExponentiallyWithChanceAndAreBounded) {
  Bench b({status(500)});
  const std::string error = b.error();
  EXPECT_NE(error.find("8 tries failed, the last one: status 500, SomeCode: some message"),
            std::string::npos)
      << error;
  ASSERT_EQ(b.waits.size(), 7u);
  for (int i = 0; i < 7; ++i) {
    const std::int64_t base = std::min<std::int64_t>(60'000, 1000LL << i);
    EXPECT_GE(b.waits[static_cast<std::size_t>(i)].count(), base / 2) << i;
    EXPECT_LT(b.waits[static_cast<std::size_t>(i)].count(), base) << i;
  }
  Bench same({status(500)});
  same.error();
  EXPECT_EQ(same.waits, b.waits);  // the seed decides
}

TEST(RowsClient, WaitsAsLongAsTheServiceAsks) {
  Bench b({status(429, {{"retry-after", "120"}}), status(429, {{"ratelimit", "\"api\";r=0;t=55"}}),
           status(503, {{"retry-after", "0"}}), good()});
  b.client.fetch(kPage);
  ASSERT_EQ(b.waits.size(), 3u);
  EXPECT_GE(b.waits[0], milliseconds(120'000));
  EXPECT_LT(b.waits[0], milliseconds(121'000));
  EXPECT_GE(b.waits[1], milliseconds(55'000));
  EXPECT_LT(b.waits[2], milliseconds(1'000));
  ASSERT_EQ(b.notices.size(), 2u);
  EXPECT_NE(b.notices[0].find("status 429"), std::string::npos) << b.notices[0];
  EXPECT_NE(b.notices[0].find("before try 2 of 8"), std::string::npos) << b.notices[0];
}

TEST(RowsClient, DoesNotWaitForEver) {
  Bench b({status(429, {{"retry-after", "86400"}})});
  const std::string error = b.error();
  EXPECT_NE(error.find("asks to wait 86400 s"), std::string::npos) << error;
  EXPECT_TRUE(b.waits.empty());
}

TEST(RowsClient, WhatWillNotChangeIsNotTriedAgain) {
  for (const int code : {400, 401, 403, 404, 410, 422}) {
    Bench b({status(code)});
    const std::string error = b.error();
    EXPECT_NE(error.find("status " + std::to_string(code)), std::string::npos) << error;
    EXPECT_NE(error.find("[https://rows.example/rows?dataset="), std::string::npos) << error;
    EXPECT_EQ(b.requests.size(), 1u) << code;
  }
  for (const HttpProblem problem : {HttpProblem::kCertificate, HttpProblem::kTooLarge}) {
    Bench b({trouble(problem)});
    EXPECT_NE(b.error().find("trouble"), std::string::npos);
    EXPECT_EQ(b.requests.size(), 1u);
  }
  EXPECT_NE(Bench({trouble(HttpProblem::kCertificate)}).error().find("SSL_CERT_FILE"),
            std::string::npos);
  EXPECT_NE(Bench({status(401)}).error().find("HF_TOKEN"), std::string::npos);
}

TEST(RowsClient, TheTokenGoesToTheServiceAlone) {
  const HubSettings service = hub("https://rows.example", "hf_secret");
  Bench b({redirect("/moved"), redirect("https://rows.example:444/x"),
           redirect("https://other.example/x"), redirect("https://rows.example/back"), good()},
          service);
  b.client.fetch(kPage);
  ASSERT_EQ(b.requests.size(), 5u);
  EXPECT_EQ(b.authorization(0), "Bearer hf_secret");
  EXPECT_EQ(b.authorization(1), "Bearer hf_secret");  // the same host
  EXPECT_EQ(b.authorization(2), "");                  // another port
  EXPECT_EQ(b.authorization(3), "");                  // another host
  EXPECT_EQ(b.authorization(4), "Bearer hf_secret");  // and back
}

TEST(RowsClient, RedirectsAreBoundedAndNeverLeaveHttps) {
  Bench loop({redirect("/again", 307)});
  EXPECT_NE(loop.error().find("more than 5 redirects"), std::string::npos);
  EXPECT_EQ(loop.requests.size(), 6u);
  Bench down({redirect("http://rows.example/x", 301)});
  EXPECT_NE(down.error().find("redirect from https"), std::string::npos);
  EXPECT_EQ(down.requests.size(), 1u);
  Bench nowhere({redirect("", 308)});
  EXPECT_NE(nowhere.error().find("redirect without an address"), std::string::npos);
}

TEST(RowsClient, NoMessageShowsTheToken) {
  const HubSettings service = hub("https://rows.example", "hf_secret");
  const auto echo = [](int code) {
    return reply_from(hub_error(code, "C", "bad token hf_secret, hf_secret"));
  };
  for (const int code : {401, 422, 500}) {
    Bench b({echo(code)}, service);
    const std::string error = b.error();
    EXPECT_EQ(error.find("hf_secret"), std::string::npos) << error;
    EXPECT_NE(error.find("bad token ***, ***"), std::string::npos) << error;
    for (const std::string& notice : b.notices) {
      EXPECT_EQ(notice.find("hf_secret"), std::string::npos) << notice;
    }
  }
  Bench location({redirect("http://rows.example/?t=hf_secret b")}, service);
  EXPECT_EQ(location.error().find("hf_secret"), std::string::npos);
  Bench cells({reply_from({200,
                           R"({"rows":[{"row_idx":0,"row":{},"truncated_cells":["hf_secret"]}],)"
                           R"("num_rows_total":1})",
                           {}})},
              service);
  EXPECT_EQ(cells.error().find("hf_secret"), std::string::npos);
}

}  // namespace
}  // namespace qx
