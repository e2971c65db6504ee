// SPDX-License-Identifier: Apache-2.0
#include "serve/service.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// A request without a socket: its client goes when the test says so.
class TestCall final : public ServerCall {
 public:
  TestCall(std::string path, const Json& body) {
    request_.method = "POST";
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

}  // namespace
}  // namespace qx
