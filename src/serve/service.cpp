// SPDX-License-Identifier: Apache-2.0
#include "serve/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <ctime>
#include <new>

#include "base/error.h"
#include "serve/api_answer.h"
#include "serve/api_json.h"
#include "serve/service_flight.h"
#include "serve/web_page.h"

namespace qx {
namespace {

std::string lower_text(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

// "Example.org:8080" without the port, in lower case; "[::1]:80" too, and "::1" in the brackets that
// it has in a Host.
std::string host_name(std::string_view host) {
  if (host.starts_with('[')) return lower_text(host.substr(0, host.find(']') + 1));
  const std::size_t colon = host.find(':');
  if (colon != host.rfind(':')) return "[" + lower_text(host) + "]";
  return lower_text(host.substr(0, colon));
}

ServiceOptions with_host_names(ServiceOptions options) {
  for (std::string& host : options.hosts) host = host_name(host);
  return options;
}

}  // namespace

void ServeService::Flight::ended(int status) const noexcept {
  try {
    service.metrics_.count_request(route.name, status);
    if (!service.options_.log) return;
    const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
    service.options_.log(
        fmt::format("{} {} {} {:.3f} s", route.method, route.path, status, seconds));
  } catch (const std::exception&) {
    // A line is lost. Thrown on a thread of the engines or workers it would be the whole server.
  }
}

void ServeService::Flight::check() const {
  if (ticket->cancelled())
    throw ApiError(failure_status(GenerationFailure::kCancelled), "cancelled");
  if (service.aborting_) throw ApiError(503, "the server is shutting down");
  if (Clock::now() > deadline()) throw ApiError(504, "the request waited for longer than its time");
}

const ServeService::Route* ServeService::find_route(std::string_view path) {
  static constexpr Route kRoutes[] = {
      {"/health", "GET", "health", &ServeService::get_health},
      {"/metrics", "GET", "metrics", &ServeService::get_metrics},
      {"/v1/models", "GET", "models", &ServeService::get_models},
      {"/v1/models/", "GET", "model", &ServeService::get_models},  // and a name
      {"/v1/chat/completions", "POST", "chat", &ServeService::post_chat},
      {"/v1/completions", "POST", "completions", &ServeService::post_completion},
      {"/tokenize", "POST", "tokenize", &ServeService::post_tokenize},
      {"/detokenize", "POST", "detokenize", &ServeService::post_detokenize},
      {"/apply-template", "POST", "apply-template", &ServeService::post_template},
  };
  static constexpr Route kPage = {"/", "GET", "page", &ServeService::get_page};
  if (find_web_file(path)) return &kPage;
  for (const Route& route : kRoutes) {
    const bool prefix = route.path.ends_with('/');
    if (prefix ? path.starts_with(route.path) && path.size() > route.path.size()
               : path == route.path) {
      return &route;
    }
  }
  return nullptr;
}

ServeService::ServeService(std::vector<std::unique_ptr<ServedModel>> models, ServiceOptions options)
    : models_(std::move(models)),
      options_(with_host_names(std::move(options))),
      created_(static_cast<std::int64_t>(std::time(nullptr))),
      workers_(std::make_unique<Workers>()) {
  QX_CHECK(!models_.empty());
}

ServeService::~ServeService() {
  stop();
}

void ServeService::stop() {
  abort();
  workers_->pool.join();
  for (const auto& model : models_) model->engine->stop();
}

std::vector<std::string> ServeService::model_names() const {
  std::vector<std::string> names;
  for (const auto& model : models_) names.push_back(model->name);
  return names;
}

void ServeService::drain() {
  stopping_ = true;
  for (const auto& model : models_) model->engine->drain();
}

void ServeService::abort() {
  stopping_ = aborting_ = true;
  for (const auto& model : models_) model->engine->abort();
}

ServeService::Headers ServeService::cors_headers(const ServerRequest& request) const {
  const std::string_view origin = request.header("origin");
  if (origin.empty() || options_.cors.empty()) return {};
  for (const std::string& allowed : options_.cors) {
    if (allowed == "*") return {{"Access-Control-Allow-Origin", "*"}};
    if (allowed == origin) {
      return {{"Access-Control-Allow-Origin", allowed}, {"Vary", "Origin"}};
    }
  }
  return {};
}

ServerReply ServeService::error_reply(const ServerRequest* request, int status,
                                      std::string_view message, std::string_view param,
                                      std::string_view code) const {
  ServerReply reply;
  reply.status = status;
  if (request != nullptr) reply.headers = cors_headers(*request);
  if (status == 429) reply.headers.emplace_back("Retry-After", "1");
  if (status == 503) reply.headers.emplace_back("Retry-After", "5");
  if (status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  reply.body = json_text(error_json(status, message, param, code));
  return reply;
}

bool ServeService::known_host(const ServerRequest& request) const {
  if (options_.hosts.empty()) return true;
  const std::string name = host_name(request.header("host"));
  return !name.empty() &&
         std::find(options_.hosts.begin(), options_.hosts.end(), name) != options_.hosts.end();
}

// What a browser asks before it lets a page ask (fetch.spec.whatwg.org, CORS preflight).
std::optional<ServerReply> ServeService::preflight(const ServerRequest& head) const {
  Headers headers = cors_headers(head);
  if (headers.empty()) {
    return error_reply(&head, 403,
                       "pages of this origin may not ask here (--cors names those that may)");
  }
  headers.emplace_back("Access-Control-Allow-Methods", "GET, POST");
  headers.emplace_back("Access-Control-Allow-Headers", "Authorization, Content-Type");
  headers.emplace_back("Access-Control-Max-Age", "600");
  ServerReply reply;
  reply.status = 204;
  reply.headers = std::move(headers);
  return reply;
}

std::optional<ServerReply> ServeService::admit(const ServerRequest& head) {
  const Route* const route = find_route(head.path);
  const auto refused = [&](int status, std::string_view message, std::string_view code = {}) {
    metrics_.count_request(route != nullptr ? route->name : "none", status);
    return std::optional<ServerReply>(error_reply(&head, status, message, {}, code));
  };
  if (!known_host(head)) {
    return refused(403, "got a Host that is not this server's (--allow-host names further ones)");
  }
  if (head.method == "OPTIONS" && !head.header("origin").empty()) return preflight(head);
  // The page itself says nothing of this server; what it asks for then needs the key.
  const bool open = route != nullptr && (route->name == "health" || route->name == "page");
  if (!open && !options_.keys.accepts(head.header("authorization"))) {
    return refused(401, "expected the header Authorization: Bearer KEY with a key of this server",
                   "invalid_api_key");
  }
  if (route == nullptr) return refused(404, "there is nothing at this address");
  const std::string_view method = head.method == "HEAD" ? std::string_view("GET") : head.method;
  if (method != route->method) {
    auto reply = refused(405, fmt::format("expected the method {}", route->method));
    reply->headers.emplace_back("Allow", std::string(route->method));
    return reply;
  }
  if (route->method != "POST") return {};
  if (!lower_text(head.header("content-type")).starts_with("application/json")) {
    return refused(415, "expected the header Content-Type: application/json");
  }
  if (stopping_) return refused(503, "the server is shutting down");
  if (in_flight_ >= options_.in_flight) return refused(429, "too many requests are waiting");
  return {};
}

ServerReply ServeService::refuse(int status, const std::string& why, const ServerRequest* head) {
  metrics_.count_request("http", status);
  return error_reply(head, status, why);
}

void ServeService::handle(std::shared_ptr<ServerCall> call) {
  const Route* const route = find_route(call->request().path);
  QX_CHECK(route != nullptr);  // admitted
  ++in_flight_;
  const auto flight = std::make_shared<Flight>(*this, *route, std::move(call));
  flight->self = flight;
  if (route->method == "GET") return run(*route, flight);
  flight->call->on_gone([ticket = flight->ticket] { ticket->cancel(); });
  if (in_flight_ > options_.in_flight) {
    flight->call->respond(
        error_reply(&flight->call->request(), 429, "too many requests are waiting"));
    flight->ended(429);
    return;
  }
  boost::asio::post(workers_->pool, [this, route, flight] {
    try {
      run(*route, flight);
    } catch (const std::exception&) {
      // No memory even for the refusal: a call that is dropped is answered with status 500.
    }
  });
}

void ServeService::run(const Route& route, const std::shared_ptr<Flight>& flight) {
  ServerReply reply;
  const ServerRequest& request = flight->call->request();
  try {
    if (route.method != "GET") flight->check();
    (this->*route.run)(*flight);
    return;
  } catch (const ApiError& e) {
    if (e.status == failure_status(GenerationFailure::kCancelled)) metrics_.count_cancelled();
    reply = error_reply(&request, e.status, e.what(), e.param, e.code);
  } catch (const Error& e) {
    reply = error_reply(&request, 400, e.what());
  } catch (const std::bad_alloc&) {
    reply = error_reply(&request, 503, "the server has too little memory for this");
  } catch (const std::exception& e) {
    reply = error_reply(&request, 500, e.what());
  }
  const int status = reply.status;
  flight->call->respond(std::move(reply));
  flight->ended(status);
}

void ServeService::reply_json(const Flight& flight, const Json& document) {
  ServerReply reply;
  reply.headers = cors_headers(flight.call->request());
  reply.body = json_text(document);
  flight.call->respond(std::move(reply));
  flight.ended(200);
}

void ServeService::get_health(const Flight& flight) {
  if (stopping_) throw ApiError(503, "the server is shutting down");
  reply_json(flight, {{"status", "ok"}});
}

void ServeService::get_page(const Flight& flight) {
  const auto file = find_web_file(flight.call->request().path);
  QX_CHECK(file.has_value());  // it has found the route
  ServerReply reply;
  reply.content_type = file->content_type;
  reply.headers = web_file_headers();
  reply.body = file->body;
  flight.call->respond(std::move(reply));
  flight.ended(200);
}

void ServeService::get_metrics(const Flight& flight) {
  std::vector<std::pair<std::string, EngineStats>> engines;
  for (const auto& model : models_) engines.emplace_back(model->name, model->engine->stats());
  ServerReply reply;
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  reply.headers = cors_headers(flight.call->request());
  reply.body = metrics_.text(engines);
  flight.call->respond(std::move(reply));
  flight.ended(200);
}

Json ServeService::model_json(const ServedModel& model) const {
  return {{"id", model.name},
          {"object", "model"},
          {"created", created_},
          {"owned_by", "qx"},
          {"max_model_len", model.engine->limits().context},
          {"chat", model.chat.has_value()}};
}

void ServeService::get_models(const Flight& flight) {
  constexpr std::string_view kList = "/v1/models";
  const std::string& path = flight.call->request().path;
  if (path != kList) {
    // The name is only compared: it leads to no file.
    return reply_json(flight, model_json(find_model(path.substr(kList.size() + 1))));
  }
  Json data = Json::array();
  for (const auto& model : models_) data.push_back(model_json(*model));
  reply_json(flight, {{"object", "list"}, {"data", std::move(data)}});
}

ServedModel& ServeService::find_model(const std::string& name) const {
  if (name.empty()) return *models_.front();
  for (const auto& model : models_) {
    if (model->name == name) return *model;
  }
  std::string names;
  for (const auto& model : models_) names += (names.empty() ? "" : ", ") + model->name;
  throw ApiError(404,
                 fmt::format("model: got '{}', expected one of: {}", name.substr(0, 100), names),
                 "model", "model_not_found");
}

}  // namespace qx
