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
    std::vector<std::string> arguments = {"serve", "-m", "tiny=" + (directory_ / "m").string(),
                                          "--port", "0"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    // The port is the server's choice, and its line on stdout says that clients may come.
    std::promise<int> started, listening;
    auto process = started.get_future(), port = listening.get_future();
    outcome_ = std::async(std::launch::async, [arguments, started = std::move(started),
                                               listening = std::move(listening)]() mutable {
      bool told = false;
      const auto heard = [&](const std::string& out) {
        const std::string before = "listening on http://127.0.0.1:";
        if (told || !out.starts_with(before) || out.find('\n') == std::string::npos) return;
        told = true;
        listening.set_value(std::stoi(out.substr(before.size())));
      };
      const Outcome outcome = run_qx(
          arguments, "", {}, [&](int id) { started.set_value(id); }, heard);
      if (!told) listening.set_value(0);
      return outcome;
    });
    process_ = process.get();
    port_ = static_cast<std::uint16_t>(port.get());
    ASSERT_NE(port_, 0) << outcome_.get().err;
    ASSERT_EQ(ask("GET", "/health").status, 200);
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
