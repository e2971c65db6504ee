// A rows service on this machine, for tests: answers as the Hub's does, or as badly as a test wants.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace qx {

struct RowsQuery {
  std::string path, dataset, config, split;
  std::int64_t offset = 0, length = 0;
  std::string authorization;  // the header's value, "" when it is not there
  std::size_t number = 0;     // of all requests so far, from 0
};

struct ServerAnswer {
  int status = 200;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  enum class Manner {
    kWhole,
    kCut,     // the connection is closed half way through the body
    kDrip,    // a byte now and then, for ever
    kSilent,  // nothing, for ever
    kEndless  // bytes without end
  } manner = Manner::kWhole;
  std::string type = "application/json";
};

class RowsServer {
 public:
  using Handler = std::function<ServerAnswer(const RowsQuery&)>;
  // Listens on 127.0.0.1 until it is destroyed. The handler is called from one thread at a time.
  explicit RowsServer(Handler handler);
  // With TLS.
  RowsServer(Handler handler, const std::filesystem::path& certificate,
             const std::filesystem::path& key);
  ~RowsServer();
  RowsServer(const RowsServer&) = delete;
  RowsServer& operator=(const RowsServer&) = delete;

  std::string url() const;  // "http://127.0.0.1:12345" or "https://localhost:12345"
  std::vector<RowsQuery> queries() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Row `index` of a split in the data set's own schema, as the Hub gives it: JSON on one line.
std::string hub_row(const RowsQuery& query, std::int64_t index);

// What the Hub answers for a split of `total` rows. revision: X-Revision.
ServerAnswer hub_answer(const RowsQuery& query, std::int64_t total,
                        const std::string& revision = "abc123");

// {"error": message} with a status and X-Error-Code, as the Hub's.
ServerAnswer hub_error(int status, const std::string& code, const std::string& message);

// A certificate for localhost and 127.0.0.1, signed by itself, and its key.
void write_test_certificate(const std::filesystem::path& certificate,
                            const std::filesystem::path& key);

}  // namespace qx
