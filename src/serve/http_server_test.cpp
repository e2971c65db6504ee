// SPDX-License-Identifier: Apache-2.0
#include "serve/http_server.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "support/raw_client.h"

namespace qx {
namespace {

using std::chrono::milliseconds;

// Answers: /echo with the body, /stream with three pieces, /cut with one and no end, /wait never by
// itself, /drop not at all.
class TestHandler final : public ServerHandler {
 public:
  std::optional<ServerReply> admit(const ServerRequest& head) override {
    if (head.path != "/refused") return {};
    return ServerReply{.status = 401, .body = "no"};
  }
  void handle(std::shared_ptr<ServerCall> call) override {
    const std::string& path = call->request().path;
    if (path == "/drop") return;
    if (path == "/wait") {
      call->on_gone([this] { gone.set_value(); });
      const std::lock_guard<std::mutex> lock(mutex_);
      kept.push_back(std::move(call));
      waiting.set_value();
      return;
    }
    if (path == "/stream") {
      call->begin_stream({.content_type = "text/plain"});
      for (const char* piece : {"one ", "two ", "three"}) call->write(piece);
      call->end_stream();
      call->write("late");
      return;
    }
    if (path == "/cut") {
      call->begin_stream({.content_type = "text/plain"});
      return call->write("one ");
    }
    if (path == "/flood") {
      call->on_gone([this] { gone.set_value(); });
      call->begin_stream({.content_type = "text/plain"});
      for (int i = 0; i < 64; ++i) call->write(std::string(1 << 20, 'x'));
      const std::lock_guard<std::mutex> lock(mutex_);
      kept.push_back(std::move(call));
      return;
    }
    call->respond(
        {.content_type = "text/plain", .body = call->request().body + call->request().query});
  }
  ServerReply refuse(int status, const std::string& why, const ServerRequest*) override {
    return {.status = status, .body = why};
  }

  void release() {
    const std::lock_guard<std::mutex> lock(mutex_);
    kept.clear();
  }

  std::promise<void> waiting, gone;
  std::vector<std::shared_ptr<ServerCall>> kept;

 private:
  std::mutex mutex_;
};

class HttpServerTest : public ::testing::Test {
 protected:
  static ServerLimits limits() {
    ServerLimits l;
    l.header_bytes = 4096;
    l.body_bytes = 10000;
    l.head_time = l.body_time = milliseconds(300'000);
    l.linger_time = milliseconds(500);
    return l;
  }
  void start(ServerLimits the_limits = limits()) {
    server_ = std::make_unique<HttpServer>("127.0.0.1", std::uint16_t{0}, the_limits);
    thread_ = std::thread([this] {
      server_->run(handler_, [this] {
        ++ticks_;
        if (drain_) server_->drain();
        if (stop_) server_->close();
      });
    });
  }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    handler_.release();
    server_.reset();
    stop_ = false;
  }
  void TearDown() override { stop(); }
  std::string ask(std::string_view bytes) {
    RawClient client(server_->port());
    client.send(bytes);
    return client.read_all();
  }
  // Some time after a client went, the server takes another in its place.
  void expect_a_place() {
    std::string answer;
    for (int i = 0; i < 6000 && !answer.ends_with("again"); ++i) {
      answer = ask("GET /echo?again HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
      EXPECT_TRUE(answer.empty() || answer.ends_with("again") || answer.starts_with("HTTP/1.1 503"))
          << answer;
      std::this_thread::sleep_for(milliseconds(10));
    }
    EXPECT_TRUE(answer.ends_with("again"));
  }

  TestHandler handler_;
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
  std::atomic<bool> stop_{false}, drain_{false};
  std::atomic<int> ticks_{0};
};

constexpr const char* kClose = "Host: x\r\nConnection: close\r\n";

TEST_F(HttpServerTest, AnswersAndKeepsConnections) {
  start();
  RawClient client(server_->port());
  // Two requests at once, the second of which comes in pieces.
  client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET /echo?a=b HT");
  EXPECT_TRUE(client.read_until("\r\n\r\nhi").starts_with("HTTP/1.1 200 OK\r\n"));
  client.send("TP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(client.read_until("a=b").ends_with("\r\n\r\na=b"));
  client.send("GET /refused HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(client.read_until("no").starts_with("HTTP/1.1 401 Unauthorized\r\n"));
  client.send(std::string("HEAD /echo?q HTTP/1.1\r\n") + kClose + "\r\n");
  const std::string head = client.read_all();
  EXPECT_NE(head.find("Content-Length: 1\r\n"), std::string::npos);
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpServerTest, StreamsInChunksAndPlainlyToOldClients) {
  start();
  const std::string chunked = ask(std::string("GET /stream HTTP/1.1\r\n") + kClose + "\r\n");
  EXPECT_NE(chunked.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  EXPECT_TRUE(chunked.ends_with("4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0\r\n\r\n")) << chunked;
  const std::string old = ask("GET /stream HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.find("chunked"), std::string::npos);
  EXPECT_TRUE(old.ends_with("\r\n\r\none two three")) << old;
}

TEST_F(HttpServerTest, ReadsChunkedBodiesAndWaitsForNobodyToContinue) {
  start();
  EXPECT_TRUE(ask(std::string("POST /echo HTTP/1.1\r\n") + kClose +
                  "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
                  .ends_with("\r\n\r\nabc"));
  RawClient client(server_->port());
  client.send(std::string("POST /echo HTTP/1.1\r\n") + kClose +
              "Content-Length: 1\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("z");
  EXPECT_TRUE(client.read_all().ends_with("\r\n\r\nz"));
}

TEST_F(HttpServerTest, BadRequestsAreRefusedAndNothingElseHappens) {
  start();
  const std::string many(300, 'a');
  std::string headers;
  for (int i = 0; i < 700; ++i) headers += "A: " + std::to_string(i) + "\r\n";
  const std::pair<std::string, std::string> cases[] = {
      {"\r\n\r\n\r\n", "400"},
      {"nonsense\r\n\r\n", "400"},
      {"GET /echo HTTP/9.9\r\nHost: x\r\n\r\n", "400"},
      {"GET /echo HTTP/1.1\r\n\r\n", "400"},
      {std::string("GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", 28), "400"},
      {"GET /echo HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", "400"},
      {"GET /echo HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n", "431"},
      {"GET /" + std::string(5000, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n", "431"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n", "400"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10001\r\n\r\n", "413"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", "413"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "400"},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: "
       "3\r\n\r\nabc",
       "400"},
  };
  for (const auto& [bytes, status] : cases) {
    const std::string answer = ask(bytes);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 " + status)) << bytes.substr(0, 80) << "\n" << answer;
  }
  EXPECT_TRUE(ask(std::string("GET /echo?fine HTTP/1.1\r\n") + kClose + "\r\n").ends_with("fine"));
}

// Whoever forwards the request may see another end of it than this server does: nothing behind it
// may count as a request.
TEST_F(HttpServerTest, ABodyInACodingThatIsNotChunkedEndsTheConnection) {
  start();
  const std::pair<std::string, std::string> cases[] = {
      {"Transfer-Encoding: gzip\r\n", "501"},
      {"Transfer-Encoding: identity\r\n", "501"},
      {"Transfer-Encoding: xchunked\r\n", "501"},
      {"Transfer-Encoding: gzip, chunked\r\n", "501"},
      {"Transfer-Encoding: chunked, gzip\r\n", "501"},
      {"Transfer-Encoding: chunked, chunked\r\n", "501"},
      {"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "400"},
      {"Transfer-Encoding: \r\n", "501"},
      {"Transfer-Encoding: gzip\r\nContent-Length: 3\r\n", "400"},
      {"Content-Length: 3\r\nTransfer-Encoding: identity\r\n", "400"}};
  for (const auto& [headers, status] : cases) {
    const std::string answer = ask("POST /echo?one HTTP/1.1\r\nHost: x\r\n" + headers +
                                   "\r\nGET /echo?smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 " + status)) << headers << "\n" << answer;
    EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos) << headers;
    EXPECT_EQ(answer.find("smuggled"), std::string::npos) << headers << "\n" << answer;
  }
  EXPECT_TRUE(ask("POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
                  .starts_with("HTTP/1.1 400"));
  EXPECT_TRUE(ask(std::string("POST /echo HTTP/1.1\r\n") + kClose +
                  "Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
                  .ends_with("\r\n\r\na"));
}

TEST_F(HttpServerTest, HeadersThatComeOneByOneHaveAnEnd) {
  start();
  RawClient client(server_->port());
  client.send("GET /echo HTTP/1.1\r\nHost: x\r\n");
  const std::string header = "A: " + std::string(100, 'x') + "\r\n";
  for (int i = 0; i < 1'000'000 && client.send(header); ++i) {
  }
  EXPECT_TRUE(client.read_all().starts_with("HTTP/1.1 431"));
}

TEST_F(HttpServerTest, AChunkExtensionHasAnEnd) {
  start();
  RawClient client(server_->port());
  client.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a=");
  const std::string more(1 << 16, 'x');
  // Far more than any buffer between the two takes.
  for (int i = 0; i < 2000 && client.send(more); ++i) {
  }
  EXPECT_TRUE(client.read_all().starts_with("HTTP/1.1 400"));
}

TEST_F(HttpServerTest, RandomBytesLeaveItHealthy) {
  start();
  Random random(1);
  const std::string whole =
      "POST /echo?x=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nA: b\r\n\r\nhello world!";
  for (int i = 0; i < 300; ++i) {
    std::string bytes = whole;
    for (std::uint64_t k = random.below(6) + 1; k-- > 0;) {
      bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
    }
    RawClient client(server_->port());
    client.send(bytes.substr(0, random.below(bytes.size()) + 1));
    client.end_writing();
    const std::string answer = client.read_all();
    EXPECT_TRUE(answer.empty() || answer.starts_with("HTTP/1.1 ")) << answer;
  }
  EXPECT_TRUE(ask(std::string("GET /echo?fine HTTP/1.1\r\n") + kClose + "\r\n").ends_with("fine"));
}

TEST_F(HttpServerTest, SlowSendersAreTimedOut) {
  const std::string head = "GET /ec";
  const std::string body = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe";
  // A client that the machine keeps waiting before it says anything hears nothing: then with more
  // time.
  for (const int time : {200, 2'000, 20'000}) {
    ServerLimits short_times = limits();
    short_times.head_time = short_times.body_time = milliseconds(time);
    start(short_times);
    const std::string answers[] = {ask(head), ask(body)};
    EXPECT_EQ(ask(""), "");  // who says nothing hears nothing
    const bool heard = !answers[0].empty() && !answers[1].empty();
    if (!heard && time < 20'000) {
      stop();
      continue;
    }
    for (const std::string& answer : answers) EXPECT_TRUE(answer.starts_with("HTTP/1.1 408"));
    break;
  }
  // One byte now and then does not help.
  RawClient client(server_->port());
  std::thread dripping([&] {
    while (client.send("a")) std::this_thread::sleep_for(milliseconds(20));
  });
  EXPECT_TRUE(client.read_all().starts_with("HTTP/1.1 408"));
  dripping.join();
}

TEST_F(HttpServerTest, NoticesThatAClientWent) {
  start();
  for (const std::string& behind : {std::string(), std::string("GET /next HTTP/1.1\r\n")}) {
    handler_.gone = {};
    handler_.waiting = {};
    RawClient client(server_->port());
    client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + behind);
    handler_.waiting.get_future().wait();
    client.close();
    EXPECT_EQ(handler_.gone.get_future().wait_for(std::chrono::minutes(5)),
              std::future_status::ready);
  }
}

TEST_F(HttpServerTest, AReaderThatLagsTooFarBehindCountsAsGone) {
  ServerLimits patient = limits();
  patient.write_time = std::chrono::hours(1);  // so that it is not this that ends it
  start(patient);
  RawClient client(server_->port());
  client.send("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(handler_.gone.get_future().wait_for(std::chrono::minutes(5)),
            std::future_status::ready);
}

TEST_F(HttpServerTest, AReaderThatStopsCountsAsGone) {
  ServerLimits impatient = limits();
  impatient.write_time = milliseconds(100);
  impatient.unread_bytes = std::size_t{1} << 30;  // more than there is
  start(impatient);
  RawClient client(server_->port());
  client.send("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(handler_.gone.get_future().wait_for(std::chrono::seconds(60)),
            std::future_status::ready);
}

// What follows the head of a refused request is its body, which nobody read: never a request.
TEST_F(HttpServerTest, TheBodyOfARefusedRequestIsNoRequest) {
  start();
  const std::string body = "GET /echo?smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::string answer =
      ask("POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
          "\r\n\r\n" + body);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 401")) << answer;
  EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("smuggled"), std::string::npos) << answer;
}

// A stream whose maker failed has no last chunk, so that its reader knows.
TEST_F(HttpServerTest, ADroppedStreamIsCut) {
  start();
  const std::string answer = ask(std::string("GET /cut HTTP/1.1\r\n") + kClose + "\r\n");
  EXPECT_EQ(answer.find("\r\n0\r\n"), std::string::npos) << answer;
}

// A call that says more when its answer has been given says it to nobody.
TEST_F(HttpServerTest, LateWordsReachNoLaterRequest) {
  start();
  RawClient client(server_->port());
  const auto ask_and_wait = [&] {
    handler_.waiting = {};
    client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    handler_.waiting.get_future().wait();
  };
  ask_and_wait();
  handler_.kept[0]->respond({.body = "first"});
  client.read_until("first");
  ask_and_wait();
  handler_.kept[0]->respond({.body = "late"});
  handler_.kept[1]->respond({.body = "second"});
  EXPECT_TRUE(client.read_until("second").ends_with("\r\n\r\nsecond"));
}

TEST_F(HttpServerTest, ADroppedCallIsAnswered) {
  start();
  EXPECT_TRUE(
      ask(std::string("GET /drop HTTP/1.1\r\n") + kClose + "\r\n").starts_with("HTTP/1.1 500"));
}

TEST_F(HttpServerTest, TooManyConnectionsAreTold) {
  ServerLimits few = limits();
  few.connections = 2;
  start(few);
  RawClient first(server_->port()), second(server_->port());
  first.send("GET /echo?first HTTP/1.1\r\nHost: x\r\n\r\n");
  first.read_until("first");
  second.send("GET /echo?second HTTP/1.1\r\nHost: x\r\n\r\n");
  second.read_until("second");
  EXPECT_TRUE(ask("").starts_with("HTTP/1.1 503"));
  first.close();
  expect_a_place();
}

TEST_F(HttpServerTest, FarTooManyConnectionsAreCut) {
  ServerLimits one = limits();
  one.connections = 1;
  one.linger_time = milliseconds(60'000);
  start(one);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 34; ++i) {
    clients.push_back(std::make_unique<RawClient>(server_->port()));
    if (i == 0) clients[0]->send("GET /echo?first HTTP/1.1\r\nHost: x\r\n\r\n");
    const std::string answer = clients.back()->read_until(i == 0 ? "first" : "connections");
    EXPECT_EQ(answer.starts_with("HTTP/1.1 503"), i > 0 && i < 33) << i;
    EXPECT_EQ(answer.empty(), i == 33) << i;
  }
}

// A client that was told the end and stays keeps its place for a moment only.
TEST_F(HttpServerTest, WhoDoesNotLeaveIsCut) {
  ServerLimits one = limits();
  one.connections = 1;
  one.linger_time = milliseconds(50);
  start(one);
  RawClient refused(server_->port());
  refused.send("nonsense\r\n\r\n");
  EXPECT_TRUE(refused.read_all().starts_with("HTTP/1.1 400"));
  expect_a_place();
}

// Descriptors may be short for a while: the connection waits until there are some.
TEST_F(HttpServerTest, AcceptsAgainAfterDescriptorsRanOut) {
  start();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int free_one = ::dup(STDOUT_FILENO);
  ASSERT_GE(free_one, 0);
  ::close(free_one);
  rlimit short_of = before;
  short_of.rlim_cur = static_cast<rlim_t>(free_one) + 1;  // the client's end is the last one
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &short_of), 0);
  std::optional<RawClient> client;
  try {
    client.emplace(server_->port());
  } catch (const std::exception& e) {
    ADD_FAILURE() << e.what();
  }
  for (const int now = ticks_; ticks_ < now + 4;) std::this_thread::yield();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(client);
  client->send(std::string("GET /echo?late HTTP/1.1\r\n") + kClose + "\r\n");
  EXPECT_TRUE(client->read_all().ends_with("late"));
}

TEST_F(HttpServerTest, DrainingEndsIdleConnectionsAndLetsAnswersEnd) {
  start();
  RawClient idle(server_->port()), busy(server_->port());
  idle.send("GET /echo?ready HTTP/1.1\r\nHost: x\r\n\r\n");
  idle.read_until("ready");
  busy.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  handler_.waiting.get_future().wait();
  drain_ = true;
  EXPECT_EQ(idle.read_all(), "");
  EXPECT_TRUE(idle.closed());
  handler_.kept.front()->respond({.body = "last words"});
  const std::string answer = busy.read_all();
  EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("last words"));
  handler_.release();
  thread_.join();  // run() returns by itself
}

// What they refer to may have gone before the server.
TEST_F(HttpServerTest, ItsEndRunsNoActions) {
  start();
  RawClient client(server_->port());
  client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  handler_.waiting.get_future().wait();
  stop_ = true;
  thread_.join();
  bool late = false;
  handler_.kept.front()->on_gone([&] { late = true; });
  handler_.release();
  server_.reset();
  EXPECT_FALSE(late);
}

TEST_F(HttpServerTest, APortThatIsTakenIsAnError) {
  start();
  EXPECT_THROW(HttpServer("127.0.0.1", server_->port(), limits()), Error);
  EXPECT_THROW(HttpServer("no.such.host.invalid", 0, limits()), Error);
}

}  // namespace
}  // namespace qx
