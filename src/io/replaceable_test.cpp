// SPDX-License-Identifier: Apache-2.0
#include "io/replaceable.h"

#include <gtest/gtest.h>

#include "io/test_files.h"

namespace qx {
namespace {

using namespace testing_files;
namespace fs = std::filesystem;

void make_model(const fs::path& directory) {
  fs::create_directories(directory);
  write_text(directory / "config.json", "{}");
}

TEST(Replaceable, NothingAModelDirectoryAndAnEmptyOne) {
  const TestFolder scratch;
  make_model(scratch / "base");
  make_model(scratch / "out");
  fs::create_directory(scratch / "empty");
  for (const bool force : {false, true}) {
    require_replaceable(scratch / "new", force, {scratch / "base"});
    require_replaceable(scratch / "base/inside", force, {scratch / "base"});
  }
  require_replaceable(scratch / "out", true, {scratch / "base", "", "a recipe's name"});
  require_replaceable(scratch / "out/", true, {scratch / "base"});
  require_replaceable(scratch / "empty", true, {scratch / "base"});
  expect_error([&] { require_replaceable(scratch / "out", false, {}); }, "exists already");
  fs::create_symlink(scratch / "absent", scratch / "link");
  expect_error([&] { require_replaceable(scratch / "link", false, {}); }, "exists already");
  require_replaceable(scratch / "link", true, {});
}

TEST(Replaceable, NoInputIsDeleted) {
  const TestFolder scratch;
  make_model(scratch / "all/base");
  make_model(scratch / "all");
  write_text(scratch / "all/m.gguf", "x");
  const auto refused = [&](const fs::path& target, const fs::path& input) {
    expect_error([&] { require_replaceable(target, true, {"", input}); }, "made from");
  };
  refused(scratch / "all/base", scratch / "all/base");
  refused(scratch / "all/base/", scratch / "all/../all/base");
  refused(scratch / "all", scratch / "all/base");
  refused(scratch / "all", scratch / "all/m.gguf");
  refused(scratch / "all/m.gguf", scratch / "all/m.gguf");
  fs::create_directory_symlink(scratch / "all/base", scratch / "link");
  refused(scratch / "link", scratch / "all/base");
  refused(scratch / "all", scratch / "link");
  // A name that begins alike is another place.
  make_model(scratch / "al");
  require_replaceable(scratch / "al", true, {scratch / "all"});
  // The files of an input may be links into the target.
  make_model(scratch / "blobs");
  make_model(scratch / "snapshot");
  write_text(scratch / "blobs/weights", "x");
  fs::create_symlink(scratch / "blobs/weights", scratch / "snapshot/model.safetensors");
  refused(scratch / "blobs", scratch / "snapshot");
}

TEST(Replaceable, NeitherTheWorkingDirectoryNorOtherThings) {
  const TestFolder scratch;
  write_text(scratch / "file", "x");
  fs::create_directory(scratch / "other");
  write_text(scratch / "other/precious.txt", "x");
  expect_error([&] { require_replaceable(scratch / "file", true, {}); }, "not a directory");
  expect_error([&] { require_replaceable(scratch / "other", true, {}); }, "no config.json");
  for (const fs::path& holds : {fs::path("."), fs::path(".."), fs::current_path()}) {
    expect_error([&] { require_replaceable(holds, true, {}); }, "working directory");
  }
}

}  // namespace
}  // namespace qx
