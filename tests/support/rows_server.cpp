// SPDX-License-Identifier: Apache-2.0
#include "support/rows_server.h"

#include <fmt/format.h>
#include <httplib.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <thread>

#include "base/error.h"

namespace qx {

struct RowsServer::State {
  Handler handler;
  std::unique_ptr<httplib::Server> server;
  bool tls = false;
  int port = 0;
  std::atomic<bool> stopping{false};
  mutable std::mutex mutex;
  std::vector<RowsQuery> queries;
  std::thread thread;

  void answer(const httplib::Request& request, httplib::Response& response);
  void send_slowly(const ServerAnswer& answer, httplib::Response& response);
  void start();
};

namespace {

std::int64_t number_of(const std::string& text) {
  return text.empty() ? -1 : std::stoll(text);
}

void pause_shortly() {
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

}  // namespace

void RowsServer::State::send_slowly(const ServerAnswer& answer, httplib::Response& response) {
  using Manner = ServerAnswer::Manner;
  const bool cut = answer.manner == Manner::kCut;
  const std::size_t length = cut ? answer.body.size() : std::size_t{1} << 20;
  const auto send = [this, answer, cut](std::size_t offset, std::size_t, httplib::DataSink& sink) {
    if (cut) {
      sink.write(answer.body.data(), answer.body.size() / 2);
      return false;
    }
    // The connection lives until the client or the test ends it.
    const bool endless = answer.manner == Manner::kEndless;
    const std::string bytes(endless ? 65536 : 1, offset == 0 ? '{' : ' ');
    while (answer.manner == Manner::kSilent && !stopping && sink.is_writable()) pause_shortly();
    if (!endless) pause_shortly();
    return !stopping && sink.write(bytes.data(), bytes.size());
  };
  if (answer.manner == Manner::kEndless) {
    // No length is announced, so that only counting bytes can notice.
    response.set_chunked_content_provider(
        answer.type,
        [send](std::size_t offset, httplib::DataSink& sink) { return send(offset, 0, sink); });
  } else {
    response.set_content_provider(length, answer.type, send);
  }
}

void RowsServer::State::answer(const httplib::Request& request, httplib::Response& response) {
  RowsQuery query;
  query.path = request.path;
  query.dataset = request.get_param_value("dataset");
  query.config = request.get_param_value("config");
  query.split = request.get_param_value("split");
  query.offset = number_of(request.get_param_value("offset"));
  query.length = number_of(request.get_param_value("length"));
  query.authorization = request.get_header_value("Authorization");
  const std::lock_guard lock(mutex);
  query.number = queries.size();
  queries.push_back(query);
  const ServerAnswer answer = handler(query);
  response.status = answer.status;
  for (const auto& [name, value] : answer.headers) response.set_header(name.c_str(), value);
  if (answer.manner == ServerAnswer::Manner::kWhole) {
    response.set_content(answer.body, answer.type.c_str());
  } else {
    send_slowly(answer, response);
  }
}

void RowsServer::State::start() {
  server->Get(".*", [this](const httplib::Request& request, httplib::Response& response) {
    answer(request, response);
  });
  // The library's five seconds end a TLS handshake whose client a busy machine keeps waiting.
  server->set_read_timeout(300, 0);
  server->set_write_timeout(300, 0);
  port = server->bind_to_any_port("127.0.0.1");
  QX_CHECK(port > 0);
  thread = std::thread([this] { server->listen_after_bind(); });
  while (!server->is_running()) pause_shortly();
}

RowsServer::RowsServer(Handler handler) : state_(std::make_unique<State>()) {
  state_->handler = std::move(handler);
  state_->server = std::make_unique<httplib::Server>();
  state_->start();
}

RowsServer::RowsServer(Handler handler, const std::filesystem::path& certificate,
                       const std::filesystem::path& key)
    : state_(std::make_unique<State>()) {
  state_->handler = std::move(handler);
  state_->tls = true;
  state_->server = std::make_unique<httplib::SSLServer>(certificate.c_str(), key.c_str());
  state_->start();
}

RowsServer::~RowsServer() {
  state_->stopping = true;
  state_->server->stop();
  state_->thread.join();
}

std::string RowsServer::url() const {
  return fmt::format("{}:{}", state_->tls ? "https://localhost" : "http://127.0.0.1", state_->port);
}

std::vector<RowsQuery> RowsServer::queries() const {
  const std::lock_guard lock(state_->mutex);
  return state_->queries;
}

std::string hub_row(const RowsQuery& q, std::int64_t index) {
  const std::string name =
      fmt::format("{} {} {} é \\\"{}\\\"", q.dataset, q.config, q.split, index);
  const std::string choices =
      R"({"text":["red","green","blue\n","white"],"label":["A","B","C","D"]})";
  const char letter = static_cast<char>('A' + index % 4);
  if (q.dataset == "allenai/ai2_arc") {
    return fmt::format(R"({{"id":"{0}","question":"{0}","choices":{1},"answerKey":"{2}"}})", name,
                       choices, letter);
  }
  if (q.dataset == "allenai/openbookqa") {
    return fmt::format(R"({{"id":"{0}","question_stem":"{0}","choices":{1},"answerKey":"{2}"}})",
                       name, choices, letter);
  }
  if (q.dataset == "aps/super_glue") {
    return fmt::format(R"({{"question":"is {0}","passage":"It is.","idx":{1},"label":{2}}})", name,
                       index, index % 2);
  }
  if (q.dataset == "Rowan/hellaswag") {
    return fmt::format(
        R"({{"ind":{1},"activity_label":"Test","ctx_a":"{0}","ctx_b":"he","ctx":"{0} he","endings":)"
        R"(["a","b","c","d"],"source_id":"s","split":"val","split_type":"indomain","label":"{2}"}})",
        name, index, index % 4);
  }
  if (q.dataset == "baber/piqa") {
    return fmt::format(R"({{"goal":"{0}","sol1":"yes","sol2":"no","label":{1}}})", name, index % 2);
  }
  return fmt::format(
      R"({{"sentence":"{0} so _ won.","option1":"Ann","option2":"Bob","answer":"{1}"}})", name,
      1 + index % 2);
}

ServerAnswer hub_answer(const RowsQuery& query, std::int64_t total, const std::string& revision) {
  std::string rows;
  const std::int64_t end =
      std::min(total, query.offset + std::min<std::int64_t>(query.length, 100));
  for (std::int64_t i = query.offset; i < end; ++i) {
    rows += fmt::format(R"({}{{"row_idx":{},"row":{},"truncated_cells":[]}})",
                        rows.empty() ? "" : ",", i, hub_row(query, i));
  }
  ServerAnswer answer;
  answer.body = fmt::format(
      R"({{"features":[{{"feature_idx":0,"name":"id","type":{{"dtype":"string","_type":"Value"}}}}],)"
      R"("rows":[{}],"num_rows_total":{},"num_rows_per_page":100,"partial":false}})",
      rows, total);
  if (!revision.empty()) answer.headers.emplace_back("X-Revision", revision);
  return answer;
}

ServerAnswer hub_error(int status, const std::string& code, const std::string& message) {
  ServerAnswer answer;
  answer.status = status;
  answer.body = fmt::format(R"({{"error":"{}"}})", message);
  answer.headers.emplace_back("X-Error-Code", code);
  return answer;
}

void write_test_certificate(const std::filesystem::path& certificate,
                            const std::filesystem::path& key_file) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> x509(X509_new(), X509_free);
  QX_CHECK(key != nullptr && x509 != nullptr);
  X509_set_version(x509.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x509.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(x509.get()), -86400);
  X509_gmtime_adj(X509_getm_notAfter(x509.get()), 86400);
  X509_set_pubkey(x509.get(), key.get());
  X509_NAME* name = X509_get_subject_name(x509.get());
  const std::string host = "localhost";
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(host.data()),
                             static_cast<int>(host.size()), -1, 0);
  X509_set_issuer_name(x509.get(), name);
  X509_EXTENSION* names =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  QX_CHECK(names != nullptr);
  X509_add_ext(x509.get(), names, -1);
  X509_EXTENSION_free(names);
  QX_CHECK(X509_sign(x509.get(), key.get(), EVP_sha256()) > 0);
  std::FILE* out = std::fopen(certificate.c_str(), "wb");
  QX_CHECK(out != nullptr && PEM_write_X509(out, x509.get()) == 1);
  std::fclose(out);
  out = std::fopen(key_file.c_str(), "wb");
  QX_CHECK(out != nullptr &&
           PEM_write_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
  std::fclose(out);
}

}  // namespace qx
