// SPDX-License-Identifier: Apache-2.0
#include "convert/source_hashes.h"

#include <gtest/gtest.h>

#include <string>

#include "base/hash.h"
#include "base/random.h"
#include "base/thread_pool.h"
#include "io/test_files.h"

namespace qx {
namespace {
using testing_files::Scratch;
using testing_files::write_text;

constexpr std::size_t kChunk = std::size_t{2} << 20;

// Files of all sizes around the chunk's.
std::vector<std::filesystem::path> write_files(const Scratch& scratch) {
  Random random(5);
  std::vector<std::filesystem::path> out;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kChunk - 1, kChunk, kChunk + 1,
                                 3 * kChunk + 7, 5 * kChunk}) {
    std::string text(size, ' ');
    for (std::size_t i = 0; i < size; i += 61) text[i] = static_cast<char>(random.next() & 0x7F);
    out.push_back(scratch / ("file-" + std::to_string(out.size())));
    write_text(out.back(), text);
  }
  return out;
}

TEST(SourceHashes, EqualHashesOfWholeFilesForAnyThreads) {
  const Scratch scratch;
  const auto files = write_files(scratch);
  for (const int threads : {1, 2, 4}) {
    for (const int at_once : {1, 2}) {
      SourceHashes hashes(files, at_once);
      EXPECT_EQ(hashes.chunks(), 14u);
      ThreadPool pool(threads);
      pool.parallel_for(hashes.chunks(), 1, [&](std::size_t, std::size_t, int) {
        if (!hashes.try_step()) hashes.step();
      });
      const std::vector<FileHash> got = hashes.get();
      ASSERT_EQ(got.size(), files.size());
      for (std::size_t i = 0; i < files.size(); ++i) {
        EXPECT_EQ(got[i].name, files[i].filename().string());
        EXPECT_EQ(got[i].bytes, std::filesystem::file_size(files[i]));
        EXPECT_EQ(got[i].sha256, sha256_file(files[i])) << got[i].name;
      }
    }
  }
}

TEST(SourceHashes, StepsEndWhenNothingIsLeft) {
  const Scratch scratch;
  SourceHashes hashes(write_files(scratch), 1);
  EXPECT_THROW(hashes.get(), InternalError);
  std::size_t steps = 0;
  while (hashes.try_step()) ++steps;
  EXPECT_EQ(steps, hashes.chunks());
  hashes.step();
  EXPECT_EQ(hashes.get().size(), 7u);
}

TEST(SourceHashes, AMissingFileIsNamed) {
  const Scratch scratch;
  testing_files::expect_error([&] { SourceHashes({scratch / "nothing"}, 1); }, "nothing");
}

}  // namespace
}  // namespace qx
