// The server's routes: what is asked by HTTP goes to the engines, and what they make goes back.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serve/api_keys.h"
#include "serve/api_request.h"
#include "serve/http_server.h"
#include "serve/serve_metrics.h"
#include "serve/served_model.h"

namespace qx {

struct ServiceOptions {
  SamplerOptions sampling = {.temperature = 1};     // of what requests leave out; OpenAI's defaults
  std::int64_t chat_tokens = 1024;                  // max_tokens of chats that do not say
  std::int64_t completion_tokens = 16;              // and of completions, as OpenAI's
  std::chrono::milliseconds request_time{600'000};  // from when the request was read
  ApiKeys keys = {};
  std::vector<std::string> cors = {};  // origins of pages that may ask, or "*"
  // The names by which clients may call this server (Host), in any case, a port does not count;
  // empty: any. Against pages elsewhere whose own name is made to point to this machine.
  std::vector<std::string> hosts = {};
  std::int64_t in_flight = 160;  // requests at work or waiting
  // A line for each request; any thread. One that throws loses its line.
  std::function<void(const std::string&)> log = {};
};

// Threads: handlers on the server's thread; requests are read and prepared by workers of its own.
class ServeService final : public ServerHandler {
 public:
  // The models are started. At least one; names are different.
  ServeService(std::vector<std::unique_ptr<ServedModel>> models, ServiceOptions options);
  ~ServeService() override;
  ServeService(const ServeService&) = delete;
  ServeService& operator=(const ServeService&) = delete;

  std::optional<ServerReply> admit(const ServerRequest& head) override;
  void handle(std::shared_ptr<ServerCall> call) override;
  ServerReply refuse(int status, const std::string& why, const ServerRequest* head) override;

  // Shutting down: new requests are refused; those at work go on until abort().
  void drain();
  void abort();
  // abort, and wait for all threads: afterwards no call hears from them. A request that is being
  // prepared holds it up until the step at hand ends.
  void stop();

  std::vector<std::string> model_names() const;

 private:
  struct Workers;
  struct Route;
  struct Flight;  // a request at work
  using Headers = std::vector<std::pair<std::string, std::string>>;

  static const Route* find_route(std::string_view path);
  Headers cors_headers(const ServerRequest& request) const;
  bool known_host(const ServerRequest& request) const;
  std::optional<ServerReply> preflight(const ServerRequest& head) const;
  ServerReply error_reply(const ServerRequest* request, int status, std::string_view message,
                          std::string_view param = {}, std::string_view code = {}) const;
  void reply_json(const Flight& flight, const Json& document);
  ServedModel& find_model(const std::string& name) const;

  // Routes. Fails: ApiError, or Error for input at fault.
  void get_health(const Flight& flight);
  void get_page(const Flight& flight);
  void get_models(const Flight& flight);
  void get_metrics(const Flight& flight);
  void post_chat(const Flight& flight);
  void post_completion(const Flight& flight);
  void post_tokenize(const Flight& flight);
  void post_detokenize(const Flight& flight);
  void post_template(const Flight& flight);
  void run(const Route& route, const std::shared_ptr<Flight>& flight);

  Json model_json(const ServedModel& model) const;
  std::string render(const ServedModel& model, const ChatRequest& request) const;
  GenerationTask common_task(const Flight& flight, const ServedModel& model,
                             const CommonRequest& request) const;
  void set_length(GenerationTask& task, const ServedModel& model, std::optional<std::int64_t> asked,
                  std::int64_t otherwise) const;
  void submit(const Flight& flight, ServedModel& model, std::vector<GenerationTask> tasks,
              struct AnswerShape shape);

  const std::vector<std::unique_ptr<ServedModel>> models_;
  const ServiceOptions options_;
  const std::int64_t created_;
  ServeMetrics metrics_;
  std::atomic<std::int64_t> in_flight_{0};
  std::atomic<bool> stopping_{false}, aborting_{false};
  std::unique_ptr<Workers> workers_;
};

}  // namespace qx
