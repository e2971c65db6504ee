// SPDX-License-Identifier: Apache-2.0
#include "hub/fetch.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "hub/data_check.h"
#include "hub/page_store.h"
#include "io/staged.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr std::uint64_t kBytesPerRow = 2048;  // more than the rows of any of the seven tasks take

class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder) {
    fd_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd_ < 0) fail(folder.string(), "cannot open: {}", std::strerror(errno));
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
    const int error = errno;
    ::close(fd_);
    if (error == EWOULDBLOCK) {
      fail(folder.string(), "another qx data fetch writes here; wait for it to end");
    }
    fail(folder.string(), "cannot lock: {}", std::strerror(error));
  }
  ~FolderLock() { ::close(fd_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_ = -1;
};

fs::path store_folder(const fs::path& folder, const WantedFile& file) {
  return folder / ("." + file.name + ".qx-fetch");
}

PageOrigin origin_of(const RowsClient& client, const WantedFile& file) {
  PageOrigin origin;
  origin.service = client.settings().service.text();
  origin.dataset = file.source.hub;
  origin.config = file.source.config;
  origin.split = file.source.split;
  return origin;
}

std::string split_name(const PageOrigin& o) {
  return fmt::format("{} {} {}", o.dataset, o.config, o.split);
}

// A file in the making.
class SplitFetch {
 public:
  SplitFetch(const WantedFile& file, RowsClient& client, const FetchOptions& options)
      : file_(file),
        client_(client),
        options_(options),
        store_(store_folder(options.folder, file)),
        origin_(origin_of(client, file)) {}

  // Pages of an earlier run. Rows of an older program may not be readable any more: those pages are
  // fetched again.
  void resume() {
    pages_ = store_.load(origin_);
    std::erase_if(pages_, [this](const auto& entry) { return !is_usable(entry.second); });
    if (pages_.empty()) return;
    origin_ = pages_.begin()->second.origin;
    have_total_ = true;
    for (const auto& [offset, page] : pages_) {
      resumed_rows_ += page.rows;
      options_.progress(page.rows, file_);
    }
  }

  bool complete() const {
    return have_total_ && kRowsPerPage * static_cast<std::int64_t>(pages_.size()) >= origin_.total;
  }

  void get_missing() {
    if (have_total_) check_size(origin_.total);  // of pages that an earlier run left
    for (int restarts = 0; !get_pages(); ++restarts) {
      if (restarts == 1) {
        fail(split_name(origin_), "the data set keeps changing on the Hub; try again later");
      }
      options_.notice(
          fmt::format("{} changed on the Hub meanwhile; starting it over", split_name(origin_)));
      store_.clear();
      pages_.clear();
      origin_ = origin_of(client_, file_);
      have_total_ = false;
      resumed_rows_ = 0;
    }
  }

  std::string text() const {
    std::string text;
    for (const auto& [offset, page] : pages_) text += page.text;
    return text;
  }

  FetchedFile record(const std::string& text) const {
    FetchedFile done;
    done.name = file_.name;
    done.task = file_.task->name;
    done.rows = origin_.total;
    done.bytes = static_cast<std::int64_t>(text.size());
    done.resumed_rows = resumed_rows_;
    done.sha256 = sha256_hex(text);
    done.revision = origin_.revision;
    save_source_record(options_.folder, file_.name,
                       {done.task, origin_.service, origin_.dataset, origin_.config, origin_.split,
                        done.revision, done.rows, done.bytes, done.sha256, options_.utc_now()});
    store_.clear();
    return done;
  }

 private:
  bool is_usable(const StoredPage& page) const {
    const std::int64_t left = page.origin.total - page.offset;
    if (page.offset % kRowsPerPage != 0 || page.rows != std::min(kRowsPerPage, left)) return false;
    return read_data_rows(*file_.task, page.text, file_.name, 0).fault_count == 0;
  }

  void check_size(std::int64_t total) const {
    const std::int64_t published = file_.source.rows;
    if (total == 0) fail(split_name(origin_), "got a split without rows, expected some");
    if (options_.accept_size || published == 0 || total == published) return;
    fail(split_name(origin_),
         "got {} rows, expected the {} published; --accept-size takes the set as it is now", total,
         published);
  }

  StoredPage checked_page(const RowsAnswer& answer, std::int64_t offset) const {
    StoredPage page;
    page.origin = origin_;
    page.offset = offset;
    page.rows = static_cast<std::int64_t>(answer.page.rows.size());
    for (std::size_t i = 0; i < answer.page.rows.size(); ++i) {
      const Json& row = answer.page.rows[i];
      file_.task->read_item(row, fmt::format("{} row {}", split_name(origin_),
                                             offset + static_cast<std::int64_t>(i)));
      page.text += dump_json(row, -1, false, false) + "\n";
    }
    return page;
  }

  // False when a page is of another state of the data set than those before.
  bool get_pages() {
    for (std::int64_t offset = 0; !have_total_ || offset < origin_.total; offset += kRowsPerPage) {
      if (pages_.contains(offset)) continue;
      const RowsAnswer answer =
          client_.fetch({origin_.dataset, origin_.config, origin_.split, offset});
      if (have_total_ &&
          (answer.page.total != origin_.total || answer.revision != origin_.revision)) {
        return false;
      }
      check_size(answer.page.total);
      origin_.total = answer.page.total;
      origin_.revision = answer.revision;
      have_total_ = true;
      StoredPage page = checked_page(answer, offset);
      store_.save(page);
      options_.progress(page.rows, file_);
      pages_.insert_or_assign(offset, std::move(page));
    }
    return true;
  }

  const WantedFile& file_;
  RowsClient& client_;
  const FetchOptions& options_;
  PageStore store_;
  PageOrigin origin_;
  bool have_total_ = false;
  std::map<std::int64_t, StoredPage> pages_;
  std::int64_t resumed_rows_ = 0;
};

// A file that is there already: what is kept of it, or nullopt when it is to be fetched.
std::optional<FetchedFile> keep_existing(const WantedFile& file, RowsClient& client,
                                         const FetchOptions& options,
                                         const std::map<std::string, SourceRecord>& records) {
  const fs::path path = options.folder / file.name;
  std::error_code ignored;
  if (options.force || !fs::exists(path, ignored)) return std::nullopt;
  const MappedFile map(path);
  FetchedFile kept;
  kept.name = file.name;
  kept.task = file.task->name;
  kept.bytes = static_cast<std::int64_t>(map.text().size());
  kept.sha256 = sha256_hex(map.text());
  const auto record = records.find(file.name);
  if (record != records.end()) {
    if (record->second.sha256 != kept.sha256) {
      fail(path.string(), "got other bytes than sources.json records; --force fetches it again");
    }
    kept.status = FetchStatus::kKept;
    kept.rows = record->second.rows;
    kept.revision = record->second.revision;
    return kept;
  }
  // A run that was killed between the file and its record left the pages.
  FetchOptions silent = options;
  silent.progress = [](std::int64_t, const WantedFile&) {};
  SplitFetch earlier(file, client, silent);
  earlier.resume();
  if (earlier.complete() && sha256_hex(earlier.text()) == kept.sha256) {
    FetchedFile done = earlier.record(earlier.text());
    done.status = FetchStatus::kKept;
    return done;
  }
  const DataRows data = read_data_rows(*file.task, map.text(), path.string(), 1);
  if (data.fault_count > 0) {
    fail(path.string() + ":" + std::to_string(data.faults.front().line),
         "{}; --force fetches the file again", data.faults.front().text);
  }
  if (file.source.rows != 0 && data.lines != file.source.rows) {
    fail(path.string(),
         "exists with {} rows, expected the {} published; --force replaces it, --data DIR fetches "
         "into another folder",
         data.lines, file.source.rows);
  }
  kept.status = FetchStatus::kKeptUnrecorded;
  kept.rows = data.lines;
  return kept;
}

void create_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(folder.string(), "cannot create the folder: {}", error.message());
}

FetchedFile fetch_one(const WantedFile& file, RowsClient& client, const FetchOptions& options) {
  SplitFetch fetch(file, client, options);
  fetch.resume();
  fetch.get_missing();
  const std::string text = fetch.text();
  write_file_atomic(options.folder / file.name, text, true);
  return fetch.record(text);
}

}  // namespace

std::vector<WantedFile> wanted_files(const std::vector<const Task*>& tasks, bool with_train) {
  std::vector<WantedFile> files;
  for (const Task* task : tasks) {
    if (task->data.hub.empty()) {
      throw UsageError(fmt::format(
          "got task '{}', expected one whose description names a data set of the Hub in 'data.hub'",
          task->name));
    }
    files.push_back({task, task->name + ".jsonl", task->data});
  }
  if (!with_train) return files;
  for (const Task* task : tasks) {
    DataSource train = task->data;
    train.split = task->few_shot.split;
    train.rows = task->few_shot.rows;
    files.push_back({task, task->name + ".train.jsonl", train});
  }
  return files;
}

std::vector<FetchedFile> fetch_files(const std::vector<WantedFile>& files, RowsClient& client,
                                     const FetchOptions& options) {
  create_folder(options.folder);
  const FolderLock lock(options.folder);
  const auto records = load_source_records(options.folder);
  std::vector<std::optional<FetchedFile>> kept;
  std::uint64_t missing_rows = 0;
  for (const WantedFile& file : files) {
    kept.push_back(keep_existing(file, client, options, records));
    if (!kept.back()) missing_rows += static_cast<std::uint64_t>(file.source.rows);
  }
  check_disk_space(options.folder / "sources.json", missing_rows * kBytesPerRow);
  std::vector<FetchedFile> done;
  for (std::size_t i = 0; i < files.size(); ++i) {
    done.push_back(kept[i] ? *kept[i] : fetch_one(files[i], client, options));
  }
  return done;
}

}  // namespace qx
