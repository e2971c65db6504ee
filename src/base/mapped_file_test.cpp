// SPDX-License-Identifier: Apache-2.0
#include "base/mapped_file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"

namespace qx {
namespace {

std::filesystem::path temp(const std::string& name) {
  return std::filesystem::path(testing::TempDir()) / name;
}

TEST(MappedFile, ReadsWhatIsThere) {
  const auto path = temp("qx_map_a");
  std::ofstream(path) << "hello";
  MappedFile file(path);
  EXPECT_EQ(file.text(), "hello");
  const MappedFile moved = std::move(file);
  EXPECT_EQ(moved.text(), "hello");
}

TEST(MappedFile, EmptyFileIsAnEmptySpan) {
  const auto path = temp("qx_map_empty");
  std::ofstream{path};
  EXPECT_TRUE(MappedFile(path).bytes().empty());
}

TEST(MappedFile, MissingFileAndDirectoryAreErrors) {
  EXPECT_THROW(MappedFile(temp("qx_map_missing")), Error);
  EXPECT_THROW(MappedFile(std::filesystem::path(testing::TempDir())), Error);
}

TEST(MappedFileDeathTest, ShrinkingFileEndsWithAMessage) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto path = temp("qx_map_shrinks");
  std::ofstream(path) << std::string(1 << 16, 'x');
  EXPECT_EXIT(
      {
        const MappedFile file(path);
        std::filesystem::resize_file(path, 10);
        volatile char sink = file.text()[(1 << 16) - 1];
        (void)sink;
      },
      testing::ExitedWithCode(1), "qx_map_shrinks. the file shrank");
}

}  // namespace
}  // namespace qx
