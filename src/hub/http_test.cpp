// The HTTP client against a server on this machine that misbehaves.
// SPDX-License-Identifier: Apache-2.0
#include "hub/http.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/rows_server.h"
#include "support/test_folder.h"

namespace qx {
namespace {
using std::chrono::milliseconds;
using Manner = ServerAnswer::Manner;

HttpProxy no_proxy(const Url&) {
  return {};
}

// Those of answers that come; however busy the machine is.
HttpLimits patient() {
  HttpLimits limits;
  limits.connect = limits.idle = limits.total = milliseconds(300'000);
  return limits;
}

HttpReply get(const std::string& url, const HttpLimits& limits = patient()) {
  HttpClient client(limits, no_proxy);
  return client.get({parse_url(url, "test"), {}});
}

ServerAnswer answer(const std::string& body, Manner manner = Manner::kWhole) {
  ServerAnswer a;
  a.body = body;
  a.manner = manner;
  return a;
}

TEST(Http, StatusHeadersAndBody) {
  RowsServer server([](const RowsQuery& q) {
    ServerAnswer a = answer("hello " + q.dataset);
    a.status = q.path == "/missing" ? 404 : 200;
    a.headers.emplace_back("X-Revision", "abc");
    return a;
  });
  const HttpReply reply = get(server.url() + "/rows?dataset=a%2Fb%20c");
  EXPECT_EQ(reply.problem, HttpProblem::kNone) << reply.detail;
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "hello a/b c");
  EXPECT_EQ(reply.header("x-revision"), "abc");
  EXPECT_EQ(reply.header("x-none"), "");
  EXPECT_EQ(get(server.url() + "/missing").status, 404);
}

TEST(Http, HeadersAreSentAndConnectionsKept) {
  RowsServer server([](const RowsQuery& q) { return answer(q.authorization); });
  HttpClient client(patient(), no_proxy);
  for (int i = 0; i < 12; ++i) {  // more than the server keeps a connection for
    const HttpReply reply =
        client.get({parse_url(server.url(), "test"), {{"Authorization", "Bearer x"}}});
    EXPECT_EQ(reply.body, "Bearer x") << i << " " << reply.detail;
  }
}

TEST(Http, RedirectsAreHandedBack) {
  RowsServer server([](const RowsQuery&) {
    ServerAnswer a = answer("");
    a.status = 302;
    a.headers.emplace_back("Location", "http://127.0.0.1:1/");
    return a;
  });
  const HttpReply reply = get(server.url());
  EXPECT_EQ(reply.status, 302);
  EXPECT_EQ(reply.header("location"), "http://127.0.0.1:1/");
}

TEST(Http, NobodyListens) {
  // Bound, so that nobody else gets the port meanwhile, but not listening.
  const int bound = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(bound, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::getsockname(bound, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const int port = ntohs(address.sin_port);
  EXPECT_EQ(get("http://127.0.0.1:" + std::to_string(port)).problem, HttpProblem::kConnection);
  ::close(bound);
}

TEST(Http, ACutConnectionIsNoAnswer) {
  RowsServer server([](const RowsQuery&) { return answer(std::string(1000, 'x'), Manner::kCut); });
  EXPECT_EQ(get(server.url()).problem, HttpProblem::kInterrupted);
}

TEST(Http, AnswersThatAreTooLargeAreNotRead) {
  RowsServer server([](const RowsQuery& q) {
    return answer(std::string(5000, 'x'), q.path == "/endless" ? Manner::kEndless : Manner::kWhole);
  });
  HttpLimits limits;
  limits.body_bytes = 4999;
  EXPECT_EQ(get(server.url(), limits).problem, HttpProblem::kTooLarge);
  limits.body_bytes = 5000;
  EXPECT_EQ(get(server.url(), limits).body.size(), 5000u);
  EXPECT_EQ(get(server.url() + "/endless", limits).problem, HttpProblem::kTooLarge);
}

// The limits are the only things that end these: without them the tests would hang.
TEST(Http, SilenceAndDripsEnd) {
  RowsServer server([](const RowsQuery& q) {
    return answer("", q.path == "/drip" ? Manner::kDrip : Manner::kSilent);
  });
  HttpLimits total;
  total.total = milliseconds(200);
  EXPECT_EQ(get(server.url() + "/drip", total).problem, HttpProblem::kTimeout);
  EXPECT_EQ(get(server.url() + "/silent", total).problem, HttpProblem::kTimeout);
  HttpLimits idle;
  idle.idle = milliseconds(100);
  EXPECT_EQ(get(server.url() + "/silent", idle).problem, HttpProblem::kInterrupted);
}

TEST(Http, AfterTroubleTheNextRequestWorks) {
  RowsServer server([](const RowsQuery& q) {
    return answer("ok", q.path == "/drip" ? Manner::kDrip : Manner::kWhole);
  });
  const HttpRequest drip{parse_url(server.url() + "/drip", "test"), {}};
  const HttpRequest whole{parse_url(server.url() + "/whole", "test"), {}};
  HttpReply next;
  // The limit is the next request's too: a longer one where the machine is too slow for it.
  for (const int limit : {300, 3'000, 30'000, 120'000}) {
    HttpLimits limits;
    limits.total = milliseconds(limit);
    HttpClient client(limits, no_proxy);
    EXPECT_EQ(client.get(drip).problem, HttpProblem::kTimeout);
    next = client.get(whole);
    if (next.problem != HttpProblem::kTimeout) break;
  }
  EXPECT_EQ(next.problem, HttpProblem::kNone) << next.detail;
  EXPECT_EQ(next.body, "ok");
}

TEST(Http, GoesThroughTheProxyThatIsNamed) {
  RowsServer proxy([](const RowsQuery& q) { return answer("proxied " + q.path); });
  const int port = parse_url(proxy.url(), "test").port;
  HttpClient client(patient(), [port](const Url&) { return HttpProxy{"127.0.0.1", port, "", ""}; });
  const HttpReply reply = client.get({parse_url("http://hub.example/x", "test"), {}});
  EXPECT_EQ(reply.problem, HttpProblem::kNone) << reply.detail;
  EXPECT_EQ(reply.body.rfind("proxied", 0), 0u) << reply.body;
}

TEST(Https, OnlyTrustedCertificates) {
  const TestFolder folder;
  write_test_certificate(folder / "cert.pem", folder / "key.pem");
  write_test_certificate(folder / "other.pem", folder / "other.key");
  RowsServer server([](const RowsQuery&) { return answer("secret"); }, folder / "cert.pem",
                    folder / "key.pem");
  EXPECT_EQ(get(server.url()).problem, HttpProblem::kCertificate);
  ::setenv("SSL_CERT_FILE", (folder / "other.pem").c_str(), 1);
  EXPECT_EQ(get(server.url()).problem, HttpProblem::kCertificate);
  ::setenv("SSL_CERT_FILE", (folder / "cert.pem").c_str(), 1);
  const HttpReply reply = get(server.url());
  EXPECT_EQ(reply.body, "secret") << reply.detail;
  ::setenv("SSL_CERT_FILE", "/nonexistent", 1);
  EXPECT_EQ(get(server.url()).problem, HttpProblem::kCertificate);
  ::unsetenv("SSL_CERT_FILE");
}

TEST(Https, PlainHttpIsNoTls) {
  RowsServer server([](const RowsQuery&) { return answer("plain"); });
  const Url url = parse_url(server.url(), "test");
  HttpLimits limits;
  limits.idle = limits.connect = milliseconds(2000);
  const HttpReply reply = get("https://127.0.0.1:" + std::to_string(url.port), limits);
  EXPECT_NE(reply.problem, HttpProblem::kNone);
}

}  // namespace
}  // namespace qx
