// A qx serve of its own for each test, and requests to it over a socket.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "run_qx.h"
#include "support/raw_client.h"
#include "support/tiny_model.h"

namespace qx::e2e {

// One that nobody listens at just now.
inline std::uint16_t free_port() {
  const int probe = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(probe, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ::close(probe);
  return ntohs(address.sin_port);
}

struct ServeAnswer {
  int status = 0;  // 0: no answer
  std::string head, body;
  Json json() const { return Json::parse(body); }
};

class ServeTest : public ::testing::Test {
 protected:
  void start(std::vector<std::string> options = {}) {
    directory_ = fresh_directory("serve");
    write_tiny_model(directory_ / "m", {.layers = 2, .context = 4096});
    port_ = free_port();
    std::vector<std::string> arguments = {"serve", "-m", "tiny=" + (directory_ / "m").string(),
                                          "--port", std::to_string(port_)};
    arguments.insert(arguments.end(), options.begin(), options.end());
    std::promise<int> started;
    auto process = started.get_future();
    outcome_ = std::async(std::launch::async, [arguments, started = std::move(started)]() mutable {
      return run_qx(arguments, "", {}, [&](int id) { started.set_value(id); });
    });
    process_ = process.get();
    while (outcome_.wait_for(std::chrono::milliseconds(10)) != std::future_status::ready) {
      try {
        if (ask("GET", "/health").status == 200) return;
      } catch (const std::runtime_error&) {
      }
    }
    FAIL() << outcome_.get().err;
  }
  void TearDown() override {
    if (outcome_.valid()) stop();
  }
  Outcome stop(int signal = SIGTERM) {
    ::kill(process_, signal);
    return outcome_.get();
  }

  static std::string request(const std::string& method, const std::string& path,
                             const std::string& body = "", const std::string& headers = "") {
    std::string text =
        method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    if (!body.empty()) {
      text += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n";
    }
    return text + headers + "\r\n" + body;
  }
  static ServeAnswer parse(const std::string& text) {
    ServeAnswer answer;
    const std::size_t end = text.find("\r\n\r\n");
    if (end == std::string::npos || text.size() < 12) return answer;
    answer.status = std::stoi(text.substr(9, 3));
    answer.head = text.substr(0, end + 2);
    answer.body = text.substr(end + 4);
    return answer;
  }
  ServeAnswer ask(const std::string& method, const std::string& path, const std::string& body = "",
                  const std::string& headers = "") {
    RawClient client(port_);
    client.send(request(method, path, body, headers));
    return parse(client.read_all());
  }
  ServeAnswer post(const std::string& path, const Json& body, const std::string& headers = "") {
    return ask("POST", path, body.dump(), headers);
  }
  static Json chat(const Json& members = Json::object()) {
    Json body = {{"messages", Json::array({{{"role", "user"}, {"content", "hello"}}})},
                 {"temperature", 0},
                 {"max_tokens", 8},
                 {"ignore_eos", true}};
    body.update(members);
    return body;
  }
  // A stream that would go on for long, once its first words are there.
  std::unique_ptr<RawClient> endless_stream() {
    auto client = std::make_unique<RawClient>(port_);
    client->send(request("POST", "/v1/chat/completions",
                         chat({{"stream", true}, {"max_tokens", 4000}}).dump()));
    EXPECT_NE(client->read_until("\"delta\"").find("200 OK"), std::string::npos);
    return client;
  }

  std::filesystem::path directory_;
  std::uint16_t port_ = 0;
  int process_ = 0;
  std::future<Outcome> outcome_;
};

}  // namespace qx::e2e
