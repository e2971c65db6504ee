// SPDX-License-Identifier: Apache-2.0
#include "serve/service.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// A request without a socket: its client goes when the test says so.
class TestCall final : public ServerCall {
 public:
  TestCall(std::string path, const Json& body, std::string method = "POST") {
    request_.method = std::move(method);
    request_.path = std::move(path);
    request_.body = body.dump();
  }
  const ServerRequest& request() const override { return request_; }
  void respond(ServerReply reply) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!reply_) reply_ = std::move(reply);
    changed_.notify_all();
  }
  void begin_stream(ServerReply) override {}
  void write(std::string) override {}
  void end_stream() override {}
  void on_gone(std::function<void()> action) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    gone_ = std::move(action);
  }

  void go_away() {
    std::function<void()> action;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      action = gone_;
    }
    if (action) action();
  }
  ServerReply wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return reply_.has_value(); });
    return *reply_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  ServerRequest request_;
  std::optional<ServerReply> reply_;
  std::function<void()> gone_;
};

// A log whose writers wait until it is opened: the workers of a service are busy as long.
class HeldLog {
 public:
  void operator()(const std::string& line) {
    std::unique_lock<std::mutex> lock(mutex_);
    lines_.push_back(line.substr(0, line.find(" 0.")));  // without the time
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  void wait_for(std::size_t lines) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return lines_.size() >= lines; });
  }
  void open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
  bool open_ = false;
};

class ServiceTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_service_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    write_tiny_model(root_ / "m", {.layers = 1, .context = 256});
    pool_ = std::make_unique<ThreadPool>(2);
  }
  static void TearDownTestSuite() {
    pool_.reset();
    fs::remove_all(root_);
  }

  void start(ServiceOptions options = {}) {
    auto model = std::make_unique<ServedModel>("tiny", root_ / "m", *pool_, Precision::kReference,
                                               KvBits::k32);
    model->start(*pool_, turn_, {.context = 64});
    longest_text_ = model->longest_text();
    std::vector<std::unique_ptr<ServedModel>> models;
    models.push_back(std::move(model));
    service_ = std::make_unique<ServeService>(std::move(models), std::move(options));
  }
  std::shared_ptr<TestCall> send(const std::string& path, const Json& body) {
    auto call = std::make_shared<TestCall>(path, body);
    service_->handle(call);
    return call;
  }
  ServerReply ask(const std::string& path, const Json& body) { return send(path, body)->wait(); }

  static inline fs::path root_;
  static inline std::unique_ptr<ThreadPool> pool_;
  ComputeTurn turn_;
  std::size_t longest_text_ = 0;
  std::unique_ptr<ServeService> service_;
};

const Json kText = {{"content", "hello"}};
const Json kBoth = {{"prompt", "hello"}};
const Json kPrompt = {{"prompt", "hello"}, {"max_tokens", 2}, {"ignore_eos", true}};

TEST_F(ServiceTest, ALogThatCannotBeWrittenEndsNothing) {
  ServiceOptions options;
  options.log = [](const std::string&) { throw std::runtime_error("the disk is full"); };
  start(options);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(ask("/tokenize", kText).status, 200);
    EXPECT_EQ(ask("/v1/completions", kPrompt).status, 200);
    EXPECT_EQ(ask("/v1/completions", {{"prompt", 1}}).status, 400);
  }
}

TEST_F(ServiceTest, WhatTheEngineRefusesIsCountedOnceAndNamed) {
  std::mutex mutex;
  std::vector<std::string> lines;
  ServiceOptions options;
  options.log = [&](const std::string& line) {
    const std::lock_guard<std::mutex> lock(mutex);
    lines.push_back(line);
  };
  start(options);
  const std::vector<std::pair<Json, std::string>> cases = {
      {{{"prompt", {999999}}}, "prompt"},
      {{{"prompt", "hello"}, {"n", 100}}, "n"},
      {{{"prompt", "hello"}, {"logit_bias", {{"999999", 1}}}}, "logit_bias"},
      {{{"prompt", "hello"}, {"repetition_penalty", 1e-40}}, "repetition_penalty"}};
  for (const auto& [body, param] : cases) {
    const ServerReply reply = ask("/v1/completions", body);
    EXPECT_EQ(reply.status, 400) << reply.body;
    EXPECT_EQ(Json::parse(reply.body)["error"]["param"], param) << reply.body;
  }
  service_->stop();
  EXPECT_EQ(lines.size(), cases.size());
  for (const std::string& line : lines) {
    EXPECT_TRUE(line.starts_with("POST /v1/completions 400 ")) << line;
  }
}

TEST_F(ServiceTest, NamesOfTheServerAreComparedAsHostsAre) {
  ServiceOptions options;
  options.hosts = {"MyHost.lan", "Other.lan:8080", "::1", "FE80::1", "[FE80::2]:80", ""};
  start(options);
  const auto status = [&](const std::string& host) {
    ServerRequest head;
    head.method = "GET";
    head.path = "/health";
    if (!host.empty()) head.headers = {{"host", host}};
    const auto refusal = service_->admit(head);
    return refusal ? refusal->status : 200;
  };
  for (const char* host : {"MyHost.lan", "myhost.lan:8080", "MYHOST.LAN", "other.lan",
                           "OTHER.lan:1", "[::1]:8080", "[::1]", "[fe80::1]", "[fe80::2]"}) {
    EXPECT_EQ(status(host), 200) << host;
  }
  for (const char* host :
       {"evil.example", "lan", "myhost.lan.evil.example", "", ":80", "[", "[::2]"}) {
    EXPECT_EQ(status(host), 403) << host;
  }
}

class WaitingServiceTest : public ServiceTest {
 protected:
  static constexpr int kWorkers = 2;  // threads of a service that prepare requests
  void start_busy(std::chrono::milliseconds request_time) {
    ServiceOptions options;
    options.request_time = request_time;
    options.log = [this](const std::string& line) { log_(line); };
    start(options);
    for (int i = 0; i < kWorkers; ++i) busy_.push_back(send("/detokenize", {{"tokens", {104}}}));
    log_.wait_for(kWorkers);
  }
  void TearDown() override {
    log_.open();
    service_.reset();
  }
  std::string metrics() {
    const auto call = std::make_shared<TestCall>("/metrics", Json(), "GET");
    service_->handle(call);
    return call->wait().body;
  }
  HeldLog log_;
  std::vector<std::shared_ptr<TestCall>> busy_;
};

TEST_F(WaitingServiceTest, TheTimeOfARequestBeginsWhenItIsRead) {
  const std::chrono::milliseconds time(1);
  start_busy(time);
  std::vector<std::shared_ptr<TestCall>> calls;
  for (const char* path : {"/tokenize", "/v1/completions"}) calls.push_back(send(path, kBoth));
  const auto read = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() <= read + time) std::this_thread::yield();
  log_.open();
  for (const auto& call : calls) EXPECT_EQ(call->wait().status, 504);
}

TEST_F(WaitingServiceTest, WhoHasGoneIsNotWorkedFor) {
  start_busy(std::chrono::minutes(10));
  std::vector<std::shared_ptr<TestCall>> calls;
  for (const char* path : {"/tokenize", "/v1/completions"}) {
    calls.push_back(send(path, kBoth));
    calls.back()->go_away();
  }
  log_.open();
  for (const auto& call : calls) EXPECT_EQ(call->wait().status, 499);
  EXPECT_NE(metrics().find("qx_requests_cancelled_total 2\n"), std::string::npos) << metrics();
}

TEST_F(WaitingServiceTest, TheEndOfTheServerDoesNotWaitForThem) {
  start_busy(std::chrono::minutes(10));
  const auto call = send("/tokenize", kBoth);
  service_->abort();
  log_.open();
  EXPECT_EQ(call->wait().status, 503);
}

TEST_F(ServiceTest, TextsThatNoContextHoldsAreNotTokenized) {
  start();
  const std::string text(longest_text_ + 1, 'a');
  for (const char* path : {"/tokenize", "/v1/completions"}) {
    const ServerReply reply = ask(path, {{"prompt", text}});
    EXPECT_EQ(reply.status, 400) << path;
    EXPECT_EQ(Json::parse(reply.body)["error"]["code"], "context_length_exceeded") << path;
  }
  EXPECT_EQ(ask("/tokenize", {{"prompt", text.substr(1)}}).status, 200);
}

}  // namespace
}  // namespace qx
