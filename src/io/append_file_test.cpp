// Appending: whole lines or none, whatever the disk does.
// SPDX-License-Identifier: Apache-2.0
#include "io/append_file.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/file_size_limit.h"
#include "support/test_folder.h"

namespace qx {
namespace {

TEST(AppendFile, KeepsTheBeginningAndGrows) {
  const TestFolder folder;
  {
    AppendFile file(folder / "a", 0);
    file.append("one\n");
    file.sync();
    file.append("two\n");
  }
  EXPECT_EQ(read_text(folder / "a"), "one\ntwo\n");
  AppendFile file(folder / "a", 4);
  EXPECT_EQ(read_text(folder / "a"), "one\n");
  file.append("three\n");
  EXPECT_EQ(read_text(folder / "a"), "one\nthree\n");
}

TEST(AppendFile, AFullDiskLeavesWholeLines) {
  const TestFolder folder;
  AppendFile file(folder / "a", 0);
  file.append("0123456789\n");
  {
    const FileSizeLimit limit(20);
    try {
      file.append("0123456789\n");  // 9 bytes of it would fit
      FAIL();
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("over the file size limit"), std::string::npos);
    }
    EXPECT_EQ(read_text(folder / "a"), "0123456789\n");
  }
  file.append("more\n");
  EXPECT_EQ(read_text(folder / "a"), "0123456789\nmore\n");
}

TEST(AppendFile, SeesThatItsFileIsGone) {
  const TestFolder folder;
  const AppendFile file(folder / "a", 0);
  file.check_linked();
  std::filesystem::remove(folder / "a");
  EXPECT_THROW(file.check_linked(), Error);
  write_text(folder / "a", "another");
  EXPECT_THROW(file.check_linked(), Error);
  EXPECT_THROW(AppendFile(folder / "none/a", 0), Error);
}

}  // namespace
}  // namespace qx
