// SPDX-License-Identifier: Apache-2.0
#include "hub/page_store.h"

#include <algorithm>
#include <fstream>
#include <span>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "io/json.h"
#include "io/posix_file.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr std::uintmax_t kMaxPageFile = std::uintmax_t{64} << 20;

bool same_split(const PageOrigin& a, const PageOrigin& b) {
  return a.service == b.service && a.dataset == b.dataset && a.config == b.config &&
         a.split == b.split;
}

std::optional<std::string> read_small_file(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error) || fs::file_size(path, error) > kMaxPageFile) {
    return std::nullopt;
  }
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return std::nullopt;
  return std::move(text).str();
}

}  // namespace

std::string page_file_text(const StoredPage& page) {
  const PageOrigin& o = page.origin;
  const Json head = {
      {"qx_page", 1},         {"service", o.service},
      {"dataset", o.dataset}, {"config", o.config},
      {"split", o.split},     {"revision", o.revision},
      {"total", o.total},     {"offset", page.offset},
      {"rows", page.rows},    {"sha256", sha256_hex(page.text)},
  };
  return dump_json(head, -1, false, true) + "\n" + page.text;
}

std::optional<StoredPage> parse_page_file(std::string_view text) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  try {
    const Json head = parse_json(text.substr(0, end), "page");
    if (!head.is_object() || json_int(head, "qx_page", "page") != 1) return std::nullopt;
    StoredPage page;
    PageOrigin& o = page.origin;
    o.service = json_string(head, "service", "page");
    o.dataset = json_string(head, "dataset", "page");
    o.config = json_string(head, "config", "page");
    o.split = json_string(head, "split", "page");
    o.revision = json_string(head, "revision", "page");
    o.total = json_int(head, "total", "page");
    page.offset = json_int(head, "offset", "page");
    page.rows = json_int(head, "rows", "page");
    page.text = text.substr(end + 1);
    const bool possible = page.offset >= 0 && page.rows >= 1 && o.total >= page.rows &&
                          page.offset <= o.total - page.rows;
    if (!possible || std::count(page.text.begin(), page.text.end(), '\n') != page.rows ||
        !page.text.ends_with('\n') ||
        sha256_hex(page.text) != json_string(head, "sha256", "page")) {
      return std::nullopt;
    }
    return page;
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::map<std::int64_t, StoredPage> PageStore::load(const PageOrigin& wanted) const {
  std::vector<fs::path> paths;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());  // names are offsets of equal width
  std::map<std::int64_t, StoredPage> pages;
  for (const fs::path& path : paths) {
    const auto text = read_small_file(path);
    auto page = text ? parse_page_file(*text) : std::nullopt;
    const bool fits = page && same_split(page->origin, wanted) &&
                      (pages.empty() || page->origin == pages.begin()->second.origin);
    if (!fits) {
      fs::remove_all(path, error);
      continue;
    }
    const std::int64_t offset = page->offset;
    pages.insert_or_assign(offset, std::move(*page));
  }
  return pages;
}

void PageStore::save(const StoredPage& page) const {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail(folder_.string(), "cannot create the folder: {}", error.message());
  // Not synced: a page that a power cut damaged is seen by its hash and fetched again, while a sync
  // for each of a thousand pages takes as long as the network.
  const std::string text = page_file_text(page);
  PosixFile file(folder_ / fmt::format("{:012}.page", page.offset));
  file.write_at(0, std::as_bytes(std::span(text.data(), text.size())));
  file.close();
}

void PageStore::clear() const {
  std::error_code error;
  fs::remove_all(folder_, error);
  if (error) fail(folder_.string(), "cannot remove: {}", error.message());
}

}  // namespace qx
