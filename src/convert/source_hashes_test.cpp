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

constexpr std::size_t kChunk = std::size_t{2} << 20;

// Maps of files of all sizes around the chunk's.
std::vector<MappedFile> write_files(const TestFolder& scratch) {
  Random random(5);
  std::vector<MappedFile> out;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kChunk - 1, kChunk, kChunk + 1,
                                 3 * kChunk + 7, 5 * kChunk}) {
    std::string text(size, ' ');
    for (std::size_t i = 0; i < size; i += 61) text[i] = static_cast<char>(random.next() & 0x7F);
    const auto path = scratch / ("file-" + std::to_string(out.size()));
    write_text(path, text);
    out.emplace_back(path);
  }
  return out;
}

std::vector<const MappedFile*> pointers(const std::vector<MappedFile>& files) {
  std::vector<const MappedFile*> out;
  for (const MappedFile& file : files) out.push_back(&file);
  return out;
}

TEST(SourceHashes, EqualHashesOfWholeFilesForAnyThreads) {
  const TestFolder scratch;
  const auto files = write_files(scratch);
  for (const int threads : {1, 2, 4}) {
    for (const int at_once : {1, 2}) {
      SourceHashes hashes(pointers(files), at_once);
      EXPECT_EQ(hashes.chunks(), 14u);
      ThreadPool pool(threads);
      pool.parallel_for(hashes.chunks(), 1, [&](std::size_t, std::size_t, int) {
        if (!hashes.try_step()) hashes.step();
      });
      EXPECT_EQ(hashes.bytes_done(), 11 * kChunk + 8);
      const std::vector<FileHash> got = hashes.get();
      ASSERT_EQ(got.size(), files.size());
      for (std::size_t i = 0; i < files.size(); ++i) {
        EXPECT_EQ(got[i].name, files[i].path().filename().string());
        EXPECT_EQ(got[i].bytes, std::filesystem::file_size(files[i].path()));
        EXPECT_EQ(got[i].sha256, sha256_file(files[i].path())) << got[i].name;
      }
    }
  }
}

TEST(SourceHashes, StepsEndWhenNothingIsLeft) {
  const TestFolder scratch;
  const auto files = write_files(scratch);
  SourceHashes hashes(pointers(files), 1);
  EXPECT_THROW(hashes.get(), InternalError);
  std::size_t steps = 0;
  while (hashes.try_step()) ++steps;
  EXPECT_EQ(steps, hashes.chunks());
  hashes.step();
  EXPECT_EQ(hashes.get().size(), files.size());
}

TEST(SourceHashes, BytesHavePassedWhenTheirLastChunkIsHashed) {
  const TestFolder scratch;
  const auto files = write_files(scratch);
  SourceHashes hashes(pointers({}), 1);
  SourceHashes last({&files.back()}, 1);
  const auto bytes = files.back().bytes();
  EXPECT_FALSE(hashes.has_passed(bytes));
  EXPECT_FALSE(last.has_passed(bytes.first(1)));
  last.step();
  EXPECT_TRUE(last.has_passed(bytes.first(kChunk)));
  EXPECT_FALSE(last.has_passed(bytes.first(kChunk + 1)));
  EXPECT_FALSE(last.has_passed(bytes.subspan(kChunk, 1)));
  for (int i = 0; i < 4; ++i) last.step();
  EXPECT_TRUE(last.has_passed(bytes));
  EXPECT_FALSE(last.has_passed(files[1].bytes()));  // of another file
}

}  // namespace
}  // namespace qx
