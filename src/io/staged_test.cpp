// SPDX-License-Identifier: Apache-2.0
#include "io/staged.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/test_files.h"

namespace qx {
namespace {

using namespace testing_files;
namespace fs = std::filesystem;

std::size_t entries(const TestFolder& scratch) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(scratch.path()), fs::directory_iterator{}));
}

TEST(StagedDirectory, TargetAppearsOnlyAtCommit) {
  const TestFolder scratch;
  StagedDirectory staged(scratch / "out", false);
  write_text(staged.path() / "a", "1");
  fs::create_directory(staged.path() / "sub");
  write_text(staged.path() / "sub/b", "2");
  EXPECT_FALSE(fs::exists(scratch / "out"));
  staged.commit();
  EXPECT_EQ(read_text(scratch / "out/sub/b"), "2");
  EXPECT_EQ(entries(scratch), 1u);
}

TEST(StagedDirectory, NothingIsLeftWithoutCommit) {
  const TestFolder scratch;
  {
    StagedDirectory staged(scratch / "out/", false);
    write_text(staged.path() / "a", "1");
  }
  EXPECT_EQ(entries(scratch), 0u);
}

TEST(StagedDirectory, ExistingTargetNeedsForceAndIsReplacedWhole) {
  const TestFolder scratch;
  fs::create_directory(scratch / "out");
  write_text(scratch / "out/old", "old");
  expect_error([&] { StagedDirectory staged(scratch / "out", false); }, "exists already");
  {
    StagedDirectory staged(scratch / "out", true);
    write_text(staged.path() / "new", "new");
    EXPECT_TRUE(fs::exists(scratch / "out/old"));
    staged.commit();
  }
  EXPECT_TRUE(fs::exists(scratch / "out/new"));
  EXPECT_FALSE(fs::exists(scratch / "out/old"));
  EXPECT_EQ(entries(scratch), 1u);
}

TEST(StagedDirectory, ATargetThatAppearsMeanwhileIsKept) {
  const TestFolder scratch;
  StagedDirectory staged(scratch / "out", false);
  fs::create_directory(scratch / "out");
  write_text(scratch / "out/theirs", "x");
  expect_error([&] { staged.commit(); }, "exists already");
  EXPECT_TRUE(fs::exists(scratch / "out/theirs"));
}

TEST(StagedDirectory, ASecondWriterIsToldAndStops) {
  const TestFolder scratch;
  StagedDirectory first(scratch / "out", false);
  write_text(first.path() / "a", "1");
  expect_error([&] { StagedDirectory second(scratch / "out", false); }, "another qx process");
  EXPECT_EQ(read_text(first.path() / "a"), "1");
}

TEST(StagedDirectory, KilledRunsLeaveNoTargetAndTheNextRunIsClean) {
  const TestFolder scratch;
  const pid_t child = ::fork();
  if (child == 0) {
    auto* staged = new StagedDirectory(scratch / "out", false);
    write_text(staged->path() / "half", "x");
    fs::create_directory(staged->path() / "sub");
    ::raise(SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_FALSE(fs::exists(scratch / "out"));
  EXPECT_TRUE(fs::exists(scratch / ".out.qx-partial/half"));
  {
    StagedDirectory resumed(scratch / "out", false, true);
    EXPECT_TRUE(fs::exists(resumed.path() / "half"));
    resumed.keep();
  }
  StagedDirectory staged(scratch / "out", false);
  EXPECT_TRUE(fs::is_empty(staged.path()));
  write_text(staged.path() / "whole", "x");
  staged.commit();
  EXPECT_EQ(entries(scratch), 1u);
}

TEST(StagedDirectory, AKillBetweenTheTwoRenamesIsRepaired) {
  const TestFolder scratch;
  fs::create_directory(scratch / ".out.qx-old");
  write_text(scratch / ".out.qx-old/old", "old");
  expect_error([&] { StagedDirectory staged(scratch / "out", false); }, "exists already");
  EXPECT_EQ(read_text(scratch / "out/old"), "old");
  fs::create_directory(scratch / ".out.qx-old");
  { StagedDirectory staged(scratch / "out", true); }
  EXPECT_EQ(entries(scratch), 1u);
}

// Another process between its two renames: what it set aside is its to put back.
TEST(StagedDirectory, ASecondWriterLeavesTheFirstOnesRenamesAlone) {
  const TestFolder scratch;
  const StagedDirectory first(scratch / "out", true);
  fs::create_directory(scratch / ".out.qx-old");
  expect_error([&] { StagedDirectory second(scratch / "out", true); }, "another qx process");
  EXPECT_TRUE(fs::exists(scratch / ".out.qx-old"));
  EXPECT_FALSE(fs::exists(scratch / "out"));
}

// After the second rename the lock is on the target, until what was set aside is gone.
TEST(StagedDirectory, ATargetThatIsStillBeingReplacedIsBusy) {
  const TestFolder scratch;
  fs::create_directory(scratch / "out");
  fs::create_directory(scratch / ".out.qx-old");
  const int fd = ::open((scratch / "out").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(fd, LOCK_EX), 0);
  expect_error([&] { StagedDirectory second(scratch / "out", true); }, "another qx process");
  EXPECT_EQ(entries(scratch), 2u);
  ::close(fd);
  { StagedDirectory second(scratch / "out", true); }
  EXPECT_EQ(entries(scratch), 1u);
}

TEST(StagedDirectory, AnExistingTargetCostsNoUnfinishedDirectory) {
  const TestFolder scratch;
  {
    StagedDirectory unfinished(scratch / "out", false);
    write_text(unfinished.path() / "half", "x");
    unfinished.keep();
  }
  fs::create_directory(scratch / ".out.qx-old");  // becomes the target
  expect_error([&] { StagedDirectory staged(scratch / "out", false); }, "exists already");
  EXPECT_TRUE(fs::exists(scratch / ".out.qx-partial/half"));
}

TEST(SideDirectory, ASecondOneIsToldAndRemovesNothing) {
  const TestFolder scratch;
  {
    const SideDirectory first(scratch / "out", ".qx-side");
    fs::create_directories(first.path());
    write_text(first.path() / "a", "1");
    expect_error([&] { SideDirectory second(scratch / "out", ".qx-side"); }, "another qx process");
    EXPECT_EQ(read_text(first.path() / "a"), "1");
  }
  EXPECT_EQ(entries(scratch), 0u);
  const StagedDirectory staged(scratch / "out", false);
  expect_error([&] { SideDirectory side(scratch / "out", ".qx-side"); }, "another qx process");
}

TEST(SideDirectory, IsKeptForAResumeAndEmptiedWithout) {
  const TestFolder scratch;
  for (const bool resume : {true, false}) {
    {
      SideDirectory side(scratch / "out", ".qx-side");
      fs::create_directories(side.path());
      side.keep();
    }
    const SideDirectory side(scratch / "out", ".qx-side", resume);
    EXPECT_EQ(fs::exists(side.path()), resume);
  }
  EXPECT_EQ(entries(scratch), 0u);
}

TEST(StagedDirectory, ImpossiblePlacesAreErrors) {
  const TestFolder scratch;
  write_text(scratch / "file", "x");
  expect_error([&] { StagedDirectory staged(scratch / "file/out", false); },
               "cannot create the folder");
  expect_error([] { StagedDirectory staged("", false); }, "empty path");
  expect_error([] { StagedDirectory staged("/", true); }, "root directory");
  StagedDirectory deep(scratch / "a/b/out", false);
  deep.commit();
  EXPECT_TRUE(fs::is_directory(scratch / "a/b/out"));
}

TEST(StagedDirectory, ASymlinkInPlaceOfTheTemporaryIsNotFollowed) {
  const TestFolder scratch;
  fs::create_directory(scratch / "precious");
  write_text(scratch / "precious/data", "x");
  fs::create_directory_symlink(scratch / "precious", scratch / ".out.qx-partial");
  EXPECT_THROW(StagedDirectory(scratch / "out", false), Error);
  EXPECT_TRUE(fs::exists(scratch / "precious/data"));
}

TEST(WriteFileAtomic, WholeOrAbsent) {
  const TestFolder scratch;
  write_file_atomic(scratch / "f", "one", false);
  EXPECT_EQ(read_text(scratch / "f"), "one");
  expect_error([&] { write_file_atomic(scratch / "f", "two", false); }, "exists already");
  write_file_atomic(scratch / "f", "two", true);
  EXPECT_EQ(read_text(scratch / "f"), "two");
  fs::create_directory(scratch / "d");
  expect_error([&] { write_file_atomic(scratch / "d", "x", true); }, "not a regular file");
  EXPECT_EQ(entries(scratch), 2u);
}

TEST(StagedFile, ASecondWriterIsToldAndWhatAKilledRunLeftIsReplaced) {
  const TestFolder scratch;
  const fs::path target = scratch / "new/f", partial = scratch / "new/.f.qx-partial";
  {
    const StagedFile first(target);
    EXPECT_TRUE(fs::exists(partial));
    expect_error([&] { StagedFile second(target); }, "another qx process");
    expect_error([&] { write_file_atomic(target, "x", true); }, "another qx process");
    EXPECT_TRUE(fs::exists(partial));
  }
  EXPECT_FALSE(fs::exists(partial));
  write_file_atomic(partial, "half of a file, longer than what comes",
                    false);  // as a kill leaves it
  write_file_atomic(target, "whole", false);
  EXPECT_EQ(read_text(target), "whole");
  EXPECT_FALSE(fs::exists(partial));
}

TEST(DiskSpace, IsComparedWithWhatIsFree) {
  const TestFolder scratch;
  EXPECT_NO_THROW(check_disk_space(scratch / "not/there/yet", 1));
  expect_error([&] { check_disk_space(scratch / "x", UINT64_MAX / 2); }, "free disk space");
}

}  // namespace
}  // namespace qx
