// SHA-256 of the source files, computed beside the conversion by the same threads: a unit of work is one
// chunk of one file, taken whenever a thread is free. A file is one chain of chunks that nothing can
// split, so hashing goes first and converting fills what is left of the processor.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/mapped_file.h"
#include "convert/output_files.h"

namespace qx {

class SourceHashes {
 public:
  // The maps stay with the caller, who also converts from them: pages that one of the two has touched
  // cost the other nothing. at_once >= 1: how many files may be hashed at the same time by try_step().
  SourceHashes(const std::vector<const MappedFile*>& files, int at_once);
  ~SourceHashes();
  SourceHashes(const SourceHashes&) = delete;
  SourceHashes& operator=(const SourceHashes&) = delete;

  // Chunks of all files together: the number of steps that it takes.
  std::size_t chunks() const { return chunks_; }

  std::uint64_t bytes_done() const { return bytes_done_; }

  // Hashes the next chunk of a file; false when every file with chunks left is being hashed by other
  // threads, or at_once files are, or none has any. Threads: any.
  bool try_step();
  // The same, but waits for another thread where try_step() would give up because of it. Returns without
  // doing anything only when no chunk is left.
  void step();
  // Whether bytes of one of the maps have been hashed, so that their pages can be given back. Threads: any.
  bool has_passed(std::span<const std::byte> bytes) const;
  // By file, in the order given. Call after chunks() steps. Threads: no step may be under way.
  std::vector<FileHash> get();

 private:
  struct File;
  bool hash_chunk(File& file, bool wait);
  std::vector<std::unique_ptr<File>> files_;
  std::size_t chunks_ = 0;
  std::atomic<std::uint64_t> bytes_done_{0};
  int at_once_;
  std::atomic<int> active_{0};
};

}  // namespace qx
