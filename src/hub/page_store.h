// Pages of a split that were fetched but not yet made into a file: one small file each, so that a
// fetch that was stopped goes on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace qx {

// Of what a page is a part. Pages of one file must agree in all of it.
struct PageOrigin {
  std::string service, dataset, config, split;
  std::string revision;    // empty: the service did not say
  std::int64_t total = 0;  // rows of the split
  bool operator==(const PageOrigin&) const = default;
};

struct StoredPage {
  PageOrigin origin;
  std::int64_t offset = 0, rows = 0;
  std::string text;  // the rows, one a line, each with its line feed
};

// A page file: a line of JSON that says what it is and the SHA-256 of the rest, then the rows.
std::string page_file_text(const StoredPage& page);
// Nullopt for anything that is not exactly such a text. Never throws.
std::optional<StoredPage> parse_page_file(std::string_view text);

// The folder .NAME.qx-fetch beside the file to come. Threads: one; processes: the caller locks.
class PageStore {
 public:
  explicit PageStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // By offset, the intact pages of this service, data set, config and split that agree with the
  // first of them in revision and total. Others are removed.
  std::map<std::int64_t, StoredPage> load(const PageOrigin& wanted) const;
  void save(const StoredPage& page) const;  // Fails: Error (a full disk, ..)
  void clear() const;                       // removes the folder

 private:
  std::filesystem::path folder_;
};

}  // namespace qx
