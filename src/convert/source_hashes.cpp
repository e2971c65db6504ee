// SPDX-License-Identifier: Apache-2.0
#include "convert/source_hashes.h"

#include <algorithm>
#include <mutex>

#include "base/error.h"
#include "base/hash.h"

namespace qx {
namespace {
// About a millisecond of hashing: an interrupt is noticed soon, and locking costs nothing.
constexpr std::size_t kChunkBytes = std::size_t{2} << 20;
}  // namespace

struct SourceHashes::File {
  explicit File(const MappedFile& mapped) : map(mapped) {}

  const MappedFile& map;
  Sha256 sha;
  std::mutex mutex;                  // guards sha; held while a chunk is hashed
  std::atomic<std::size_t> done{0};  // bytes; written under the mutex
  bool has_more() const { return done < map.bytes().size(); }
};

SourceHashes::SourceHashes(const std::vector<const MappedFile*>& files, int at_once)
    : at_once_(at_once) {
  QX_CHECK(at_once >= 1);
  for (const MappedFile* map : files) {
    files_.push_back(std::make_unique<File>(*map));
    chunks_ += (files_.back()->map.bytes().size() + kChunkBytes - 1) / kChunkBytes;
  }
}

SourceHashes::~SourceHashes() = default;

bool SourceHashes::hash_chunk(File& file, bool wait) {
  std::unique_lock<std::mutex> lock(file.mutex, std::defer_lock);
  if (wait) {
    lock.lock();
  } else if (!lock.try_lock()) {
    return false;
  }
  if (!file.has_more()) return false;
  const std::size_t begin = file.done;
  const auto bytes = file.map.bytes().subspan(begin);
  const std::size_t n = std::min(kChunkBytes, bytes.size());
  file.sha.update(bytes.first(n));
  file.done = begin + n;
  bytes_done_ += n;
  return true;
}

bool SourceHashes::try_step() {
  bool done = false;
  if (active_.fetch_add(1) < at_once_) {
    for (std::size_t i = 0; i < files_.size() && !done; ++i) {
      done = files_[i]->has_more() && hash_chunk(*files_[i], false);
    }
  }
  active_.fetch_sub(1);
  return done;
}

void SourceHashes::step() {
  for (const bool wait : {false, true}) {
    for (const auto& file : files_) {
      if (file->has_more() && hash_chunk(*file, wait)) return;
    }
  }
}

bool SourceHashes::has_passed(std::span<const std::byte> bytes) const {
  for (const auto& file : files_) {
    const auto all = file->map.bytes();
    if (bytes.data() >= all.data() && bytes.data() < all.data() + all.size()) {
      return bytes.data() + bytes.size() <= all.data() + file->done;
    }
  }
  return false;
}

std::vector<FileHash> SourceHashes::get() {
  std::vector<FileHash> out;
  for (const auto& file : files_) {
    QX_CHECK(!file->has_more());
    out.push_back(
        {file->map.path().filename().string(), file->map.bytes().size(), file->sha.hex()});
  }
  return out;
}

}  // namespace qx
