// Ten thousand requests with something wrong: each is refused with a status of 4xx, and the server
// is as well afterwards as before. QX_SLOW_SENDERS=N adds clients that never come to an end, which
// takes half a minute. `make test-malformed` runs both under sanitizers.
// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string_view>
#include <thread>

#include "malformed_requests.h"
#include "serve_fixture.h"

namespace qx::e2e {
namespace {

constexpr std::size_t kMaxBody = std::size_t{1} << 20;  // --max-body 1
constexpr std::int64_t kRefusals = 10'000;
constexpr int kClients = 4;

class MalformedTest : public ServeTest {
 protected:
  void start_server() {
    start({"--max-body", "1", "--quiet", "--parallel", "8", "--queue", "1000"});
  }

  // Sends requests of running numbers until enough were refused.
  void send_until_refused() {
    std::vector<std::thread> clients;
    for (int i = 0; i < kClients; ++i) {
      clients.emplace_back([&] {
        while (refused_ < kRefusals && number_ < 2 * kRefusals) {
          const std::int64_t number = number_++;
          try {
            send_one(number);
          } catch (const std::exception& e) {
            ADD_FAILURE() << "request " << number << ": " << e.what();
            return;
          }
          if (HasFailure()) return;
        }
      });
    }
    for (std::thread& client : clients) client.join();
  }

  void send_one(std::int64_t number) {
    const MalformedRequest request =
        malformed_request(static_cast<std::uint64_t>(number), kMaxBody);
    RawClient client(port_);
    client.send(request.bytes);
    if (request.cut_short) client.end_writing();
    // A refused client may go on: what counts is the first answer.
    const std::string text = client.read_until("\r\n\r\n");
    const int status = parse(text).status;
    const bool refused = status >= 400 && status < 500;
    // Who goes away before the answer gets none.
    const bool fine = !request.surely && (status == 200 || (request.cut_short && status == 0));
    EXPECT_TRUE(refused || fine) << "request " << number << ", " << request.kind << ": got '"
                                 << text.substr(0, 200) << "' for\n"
                                 << request.bytes.substr(0, 1000);
    if (!refused) return;
    ++refused_;
    const std::lock_guard<std::mutex> lock(mutex_);
    ++by_kind_[request.kind];
    ++by_status_[status];
  }

  // Halves of requests, byte by byte, until the server has enough of each.
  void send_slowly(int clients) {
    static constexpr std::string_view kHead =
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    std::vector<std::unique_ptr<RawClient>> slow;
    for (int i = 0; i < clients; ++i) {
      slow.push_back(std::make_unique<RawClient>(port_));
      slow.back()->send(i % 2 == 0 ? kHead : std::string(kHead) + "Content-Length: 9999\r\n\r\n{");
    }
    for (bool told = false; !told;) {
      told = true;
      for (const auto& client : slow) told = !client->send(" ") && told;
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
    for (const auto& client : slow) {
      // Bytes that came after the refusal may have made the connection's end an abrupt one.
      const int status = parse(client->read_all()).status;
      EXPECT_TRUE(status == 408 || status == 0) << status;
      if (status == 408) ++refused_slow_;
    }
  }

  std::size_t open_files() const {
    std::size_t count = 0;
    std::error_code none;  // no such folder on other systems
    const std::filesystem::path folder = "/proc/" + std::to_string(process_) + "/fd";
    for (auto i = std::filesystem::directory_iterator(folder, none); i != end(i); i.increment(none))
      ++count;
    return count;
  }

  void expect_health(const std::string& answer_before, std::size_t files_before) {
    EXPECT_EQ(ask("GET", "/health").status, 200);
    EXPECT_EQ(post("/v1/chat/completions", chat()).json()["choices"].dump(), answer_before);
    // Connections linger for a moment, and what their clients asked for ends between two passes.
    std::string metrics;
    bool idle = false;
    for (int i = 0; i < 6000 && !idle; ++i) {
      metrics = ask("GET", "/metrics").body;
      // The server sees the end of this very connection a little later.
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      idle = metrics.find("qx_texts_active{model=\"tiny\"} 0\n") != std::string::npos &&
             metrics.find("qx_tasks_waiting{model=\"tiny\"} 0\n") != std::string::npos &&
             open_files() <= files_before;
    }
    EXPECT_TRUE(idle) << open_files() << " open files, before " << files_before << "\n" << metrics;
    const Outcome outcome = stop();
    // A sanitizer that found something ends the process in another way, at the latest now.
    EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
    EXPECT_EQ(outcome.err, "qx serve: interrupted; every answer was ended\n");
  }

  std::atomic<std::int64_t> refused_{0}, refused_slow_{0};
  std::atomic<std::int64_t> number_{0};
  std::mutex mutex_;
  std::map<std::string, int> by_kind_;
  std::map<int, int> by_status_;
};

int slow_senders() {
  const char* text = std::getenv("QX_SLOW_SENDERS");
  int count = 0;
  if (text != nullptr) std::from_chars(text, text + std::string_view(text).size(), count);
  return count;
}

TEST_F(MalformedTest, EveryOneIsRefusedAndTheServerStaysHealthy) {
  start_server();
  const std::string answer = post("/v1/chat/completions", chat()).json()["choices"].dump();
  const std::size_t files = open_files();
  const int slow = slow_senders();
  std::thread slow_thread;
  if (slow > 0) slow_thread = std::thread([this, slow] { send_slowly(slow); });
  send_until_refused();
  if (slow > 0) slow_thread.join();
  EXPECT_GE(refused_, kRefusals);
  EXPECT_GE(refused_slow_, slow / 2);
  for (const auto& [kind, count] : by_kind_) std::printf("%6d %s\n", count, kind.c_str());
  for (const auto& [status, count] : by_status_) std::printf("%6d status %d\n", count, status);
  std::printf("%6d slow senders\n", static_cast<int>(refused_slow_));
  expect_health(answer, files);
}

}  // namespace
}  // namespace qx::e2e
