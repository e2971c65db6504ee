// The server as clients meet it: over a socket, in another process.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <thread>

#include "serve_fixture.h"

namespace qx::e2e {
namespace {

using Answer = ServeAnswer;

TEST_F(ServeTest, AnswersChatsAndCompletions) {
  start();
  EXPECT_EQ(ask("GET", "/v1/models").json()["data"][0]["id"], "tiny");
  EXPECT_EQ(ask("GET", "/v1/models/tiny").json()["id"], "tiny");
  const Answer whole = post("/v1/chat/completions", chat());
  ASSERT_EQ(whole.status, 200) << whole.body;
  const Json document = whole.json();
  EXPECT_EQ(document["object"], "chat.completion");
  EXPECT_EQ(document["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(document["usage"]["completion_tokens"], 8);

  // The stream says the same, piece by piece.
  const Answer stream = post("/v1/chat/completions", chat({{"stream", true}}));
  std::string text;
  std::istringstream lines(stream.body);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("data: {")) continue;
    const Json chunk = Json::parse(line.substr(6));
    text += chunk["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(text, document["choices"][0]["message"]["content"]);
  EXPECT_NE(stream.body.find("data: [DONE]"), std::string::npos);

  EXPECT_EQ(post("/apply-template", chat()).json()["prompt"],
            "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n");
  const Json tokens = post("/tokenize", {{"content", "hello"}}).json()["tokens"];
  EXPECT_EQ(post("/detokenize", {{"tokens", tokens}}).json()["content"], "hello");
  // Counted once the step that made the last token is over.
  bool counted = false;
  for (int tenths = 0; tenths < 3000 && !counted; ++tenths) {
    if (tenths > 0) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    counted = ask("GET", "/metrics").body.find("qx_generated_tokens_total{model=\"tiny\"} 16\n") !=
              std::string::npos;
  }
  EXPECT_TRUE(counted);
}

TEST_F(ServeTest, EchoedLogprobsAreTheScoresOfQxScore) {
  start({"--precision", "reference"});
  const Json answer =
      post("/v1/completions", {{"prompt", Json::array({Json::array({1, 2, 3, 4, 5})})},
                               {"max_tokens", 1},
                               {"echo", true},
                               {"logprobs", 1}})
          .json();
  const Json& logprobs = answer["choices"][0]["logprobs"];
  ASSERT_EQ(logprobs["tokens"].size(), 6u);
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  double sum = 0;
  for (std::size_t i = 2; i < 5; ++i) sum += logprobs["token_logprobs"][i].get<double>();
  // A stop token as the next one is listed too: lm-eval takes the last entry for what was made.
  const Json stopped = post("/v1/completions", {{"prompt", Json::array({1, 2, 3})},
                                                {"max_tokens", 1},
                                                {"echo", true},
                                                {"logprobs", 0},
                                                {"logit_bias", {{"270", 100}}}})
                           .json()["choices"][0];
  EXPECT_EQ(stopped["finish_reason"], "stop");
  EXPECT_EQ(stopped["logprobs"]["tokens"].back(), "<|im_end|>");
  EXPECT_EQ(stopped["logprobs"]["tokens"].size(), 4u);
  std::ofstream(directory_ / "requests.jsonl")
      << R"({"context_ids":[1,2],"continuation_ids":[3,4,5]})"
      << "\n";
  const Outcome score =
      run_qx({"score", "-m", (directory_ / "m").string(), "--requests",
              (directory_ / "requests.jsonl").string(), "--precision", "reference"});
  EXPECT_NEAR(Json::parse(score.out)["ll"].get<double>(), sum, 1e-4) << score.err;
}

TEST_F(ServeTest, SaysWhatIsWrong) {
  const std::filesystem::path keys = fresh_directory("serve_keys") / "keys";
  std::ofstream(keys) << "a-secret-key\n";
  start({"--api-key-file", keys.string(), "--cors", "https://good.example"});
  const std::string key = "Authorization: Bearer a-secret-key\r\n";
  EXPECT_EQ(ask("GET", "/health").status, 200);
  EXPECT_EQ(ask("GET", "/v1/models").status, 401);
  EXPECT_EQ(ask("GET", "/v1/models", "", "Authorization: Bearer a-secret-kez\r\n").status, 401);
  EXPECT_EQ(ask("GET", "/v1/models", "", key).status, 200);
  EXPECT_EQ(post("/v1/chat/completions", chat()).status, 401);
  for (const char* path : {"//", "/../../etc/passwd", "/v1/models/../../etc/passwd", "/v1/chat",
                           "/v1/models/%2e%2e", "//"}) {
    EXPECT_EQ(ask("GET", path, "", key).status, 404) << path;
  }
  EXPECT_EQ(ask("GET", "/v1/chat/completions", "", key).status, 405);
  EXPECT_EQ(ask("POST", "/health", "{}", key).status, 405);
  EXPECT_EQ(ask("POST", "/v1/completions", "", key + "Content-Type: text/plain\r\n").status, 415);
  EXPECT_EQ(ask("POST", "/v1/completions", "{", key).status, 400);
  EXPECT_EQ(post("/v1/chat/completions", chat({{"model", "gpt"}}), key).status, 404);
  const Answer bad = post("/v1/chat/completions", chat({{"temperature", -1}}), key);
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.json()["error"]["param"], "temperature");
  EXPECT_EQ(bad.json()["error"]["type"], "invalid_request_error");
  Json ids = Json::array();
  for (int i = 0; i < 5000; ++i) ids.push_back(1);
  EXPECT_EQ(post("/v1/completions", {{"prompt", ids}}, key).json()["error"]["code"],
            "context_length_exceeded");
  EXPECT_EQ(
      post("/v1/completions", {{"prompt", std::string(1 << 20, 'a')}}, key).json()["error"]["code"],
      "context_length_exceeded");
  EXPECT_EQ(post("/v1/completions", {{"prompt", Json::array({999999})}}, key).status, 400);
  EXPECT_EQ(post("/v1/chat/completions", chat({{"logit_bias", {{"999999", 1}}}}), key).status, 400);
  EXPECT_EQ(post("/v1/chat/completions", chat({{"messages", "hi"}}), key).status, 400);

  const std::string ask_for = "Access-Control-Request-Method: POST\r\nOrigin: ";
  EXPECT_EQ(ask("OPTIONS", "/v1/models", "", ask_for + "https://good.example\r\n").status, 204);
  EXPECT_EQ(ask("OPTIONS", "/v1/models", "", ask_for + "https://evil.example\r\n").status, 403);
  EXPECT_NE(ask("GET", "/v1/models", "", key + "Origin: https://good.example\r\n")
                .head.find("Access-Control-Allow-Origin: https://good.example\r\n"),
            std::string::npos);
  EXPECT_EQ(ask("GET", "/v1/models", "", key + "Origin: https://evil.example\r\n")
                .head.find("Access-Control"),
            std::string::npos);
}

TEST_F(ServeTest, AForeignHostNameIsRefused) {
  start();
  RawClient client(port_);
  client.send("GET /v1/models HTTP/1.1\r\nHost: evil.example:80\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(parse(client.read_all()).status, 403);
}

TEST_F(ServeTest, AFullServerSaysSoAndAClientThatGoesMakesRoom) {
  start({"--parallel", "1", "--queue", "0"});
  auto first = endless_stream();
  const Answer full = post("/v1/chat/completions", chat());
  EXPECT_EQ(full.status, 429);
  EXPECT_NE(full.head.find("Retry-After: 1\r\n"), std::string::npos);
  EXPECT_EQ(full.json()["error"]["type"], "rate_limit_error");
  EXPECT_EQ(ask("GET", "/health").status, 200);
  first->close();
  Answer again;
  do {
    again = post("/v1/chat/completions", chat());
  } while (again.status == 429);
  EXPECT_EQ(again.status, 200);
}

TEST_F(ServeTest, ASignalEndsEveryStreamProperly) {
  start({"--grace", "0"});
  auto stream = endless_stream();
  RawClient idle(port_);
  const Outcome outcome = stop();
  EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
  const std::string rest = stream->read_all();
  EXPECT_NE(rest.find("data: {\"error\":{\"message\":\"the server is shutting down\""),
            std::string::npos)
      << rest.substr(0, 500);
  EXPECT_TRUE(rest.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"));
  EXPECT_EQ(idle.read_all(), "");
}

TEST_F(ServeTest, AnswersAtWorkMayEndWithinTheGrace) {
  start({"--grace", "600"});
  RawClient client(port_);
  client.send(request("POST", "/v1/chat/completions",
                      chat({{"stream", true}, {"max_tokens", 600}}).dump()));
  client.read_until("\"delta\"");
  const Outcome outcome = stop(SIGINT);
  EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
  EXPECT_NE(client.read_all().find("\"finish_reason\":\"length\""), std::string::npos);
}

TEST_F(ServeTest, ThePageIsThereForAllAndItsQuestionsNeedTheKey) {
  const std::filesystem::path keys = fresh_directory("serve_page_key") / "keys";
  std::ofstream(keys) << "secret-key-1\n";
  start({"--api-key-file", keys.string()});
  const Answer page = ask("GET", "/");
  EXPECT_EQ(page.status, 200);
  EXPECT_NE(page.head.find("Content-Type: text/html; charset=utf-8\r\n"), std::string::npos);
  EXPECT_NE(page.head.find("X-Content-Type-Options: nosniff\r\n"), std::string::npos);
  EXPECT_TRUE(page.body.starts_with("<!DOCTYPE html>"));
  const Answer script = ask("GET", "/page.js");
  EXPECT_NE(script.head.find("Content-Type: text/javascript; charset=utf-8\r\n"),
            std::string::npos);
  EXPECT_EQ(ask("HEAD", "/").body, "");
  EXPECT_EQ(ask("POST", "/", "{}").status, 405);
  EXPECT_EQ(ask("GET", "/page.html").status, 401);
  EXPECT_EQ(ask("GET", "/v1/models").status, 401);
  EXPECT_EQ(ask("GET", "/page.html", "", "Authorization: Bearer secret-key-1\r\n").status, 404);
}

TEST_F(ServeTest, ThePromptCacheOutlivesTheServer) {
  const std::string file = (fresh_directory("serve_cache") / "prefixes.safetensors").string();
  std::string text;
  for (int i = 0; i < 400; ++i) text += static_cast<char>('a' + i * 7 % 26);
  const Json question = {{"prompt", text}, {"temperature", 0}, {"max_tokens", 6}};
  Json first;
  for (const bool again : {false, true}) {
    start({"--prompt-cache-file", file});
    const Json answer = post("/v1/completions", question).json();
    const std::int64_t cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"];
    EXPECT_EQ(cached, again ? 384 : 0);
    if (again) {
      EXPECT_EQ(answer["choices"], first["choices"]);
    }
    first = answer;
    const Outcome outcome = stop();
    EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
    EXPECT_EQ(outcome.err.find("384 tokens from") != std::string::npos, again) << outcome.err;
  }
  const std::string model = (directory_ / "m").string();
  const auto refused = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"serve", "--port", "0",
                                          "-m",    model,    "--prompt-cache-file"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_qx(arguments);
  };
  const Outcome other = refused({file, "--kv-bits", "8"});
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_NE(other.err.find("of another model or setting, kv_bits"), std::string::npos) << other.err;
  EXPECT_EQ(refused({model + "/config.json"}).exit_code, 1);
  EXPECT_EQ(refused({file, "-m", "b=" + model}).exit_code, 2);
}

TEST_F(ServeTest, BadOptionsAreRefused) {
  const std::filesystem::path directory = fresh_directory("serve_bad");
  write_tiny_model(directory / "m", {});
  const std::string model = (directory / "m").string();
  EXPECT_EQ(run_qx({"serve", "-m", model, "--kv-memory", "1MB", "--port", "0"}).exit_code, 2);
  EXPECT_EQ(run_qx({"serve", "-m", model, "-m", model, "--port", "0"}).exit_code, 2);
  EXPECT_EQ(run_qx({"serve", "-m", model, "--api-key-file", "/nowhere", "--port", "0"}).exit_code,
            1);
  EXPECT_EQ(run_qx({"serve", "-m", (directory / "none").string(), "--port", "0"}).exit_code, 1);
  EXPECT_EQ(run_qx({"serve", "-m", model, "--host", "192.0.2.1", "--port", "0"}).exit_code, 1);
}

TEST_F(ServeTest, GuessesChangeNoAnswerAndAreCounted) {
  const Json body = chat({{"max_tokens", 60}, {"temperature", 1}, {"seed", 4}, {"logprobs", true}});
  start();
  const Json plain = post("/v1/chat/completions", body).json()["choices"];
  EXPECT_EQ(stop().exit_code, 130);
  start({"--draft-model", (directory_ / "m").string(), "--prompt-lookup", "4"});
  const Json guessed = post("/v1/chat/completions", body).json()["choices"];
  EXPECT_EQ(guessed, plain);
  // Letters that repeat are found by lookup.
  const Json letters = chat({{"max_tokens", 60}, {"logit_bias", {{"97", 90}}}});
  EXPECT_EQ(post("/v1/chat/completions", letters).status, 200);
  const std::string metrics = ask("GET", "/metrics").body;
  const std::size_t at = metrics.find("\nqx_accepted_tokens_total{model=\"tiny\"} ");
  ASSERT_NE(at, std::string::npos) << metrics;
  EXPECT_GT(std::stoi(metrics.substr(metrics.find("} ", at) + 2)), 20) << metrics;
}

}  // namespace
}  // namespace qx::e2e
