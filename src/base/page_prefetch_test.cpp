// SPDX-License-Identifier: Apache-2.0
#include "base/page_prefetch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/mapped_file.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

class PagePrefetchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    std::ofstream(root_ / "f", std::ios::binary) << std::string(kBytes, 'x');
  }
  void TearDown() override { fs::remove_all(root_); }
  static constexpr std::size_t kBytes = (std::size_t{20} << 20) + 77;
  fs::path root_;
};

// Pages of this process's page table; mincore would say what the system has.
std::size_t mapped_bytes(const MappedFile& file) {
  std::ifstream maps("/proc/self/smaps");
  std::size_t bytes = 0;
  bool ours = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(file.path().string()) != std::string::npos) {
      ours = true;
    } else if (ours && line.starts_with("Rss:")) {
      bytes += std::stoul(line.substr(4)) * 1024;
      ours = false;
    }
  }
  return bytes;
}

TEST_F(PagePrefetchTest, BringsTheRangesIn) {
  const MappedFile file(root_ / "f");
  if (!fs::exists("/proc/self/smaps")) GTEST_SKIP() << "only Linux says what is mapped";
  EXPECT_EQ(mapped_bytes(file), 0u);
  // Odd ranges, of which one ends with the file.
  PagePrefetch prefetch({file.bytes().subspan(4097, 9), file.bytes().subspan(123457)});
  prefetch.wait();
  EXPECT_GE(mapped_bytes(file), kBytes - 123457);
}

TEST_F(PagePrefetchTest, MayBeGivenUpAtOnceAndMayBeEmpty) {
  for (int i = 0; i < 20; ++i) {
    const MappedFile file(root_ / "f");
    PagePrefetch prefetch({file.bytes()});
    PagePrefetch nothing({});
    PagePrefetch hole({file.bytes().first(0)});
  }
}

}  // namespace
}  // namespace qx
