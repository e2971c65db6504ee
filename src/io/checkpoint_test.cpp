// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint.h"

#include <gtest/gtest.h>

#include "io/test_files.h"

namespace qx {
namespace {

using namespace testing_files;

// A shard with one-byte tensors of these names; their value is the first letter of the name.
std::string shard(const std::vector<std::string>& names) {
  std::string header, data;
  for (const std::string& name : names) {
    header += fmt::format("{}\"{}\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[{},{}]}}",
                          header.empty() ? "{" : ",", name, data.size(), data.size() + 1);
    data += name[0];
  }
  return safetensors_text(header + "}", data);
}

struct Case {
  TestFolder dir;
  void index(const std::string& weight_map) {
    write_text(dir / "model.safetensors.index.json", "{\"weight_map\":" + weight_map + "}");
  }
  void file(const std::string& name, const std::vector<std::string>& tensors) {
    write_text(dir / name, shard(tensors));
  }
  void expect_refused(const std::string& part) {
    expect_error([&] { Checkpoint checkpoint(dir.path()); }, part);
  }
};

TEST(Checkpoint, ReadsOneFileAndSortsByName) {
  Case c;
  c.file("model.safetensors", {"b", "a"});
  const Checkpoint checkpoint(c.dir.path());
  ASSERT_EQ(checkpoint.tensors().size(), 2u);
  EXPECT_EQ(checkpoint.tensors()[0]->name, "a");
  EXPECT_EQ(checkpoint.at("b").data[0], std::byte{'b'});
  EXPECT_EQ(checkpoint.find("c"), nullptr);
  expect_error([&] { checkpoint.at("c"); }, "tensor 'c' is missing");
  EXPECT_TRUE(checkpoint.problems().empty());
  checkpoint.release(checkpoint.at("a"));
}

TEST(Checkpoint, FollowsTheIndexAndReportsAStaleShard) {
  Case c;
  c.file("model-00001-of-00002.safetensors", {"a"});
  c.file("model-00002-of-00002.safetensors", {"b", "extra"});
  c.file("model.safetensors", {"a", "b"});
  c.index(R"({"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"})");
  const Checkpoint checkpoint(c.dir.path());
  EXPECT_EQ(checkpoint.files().size(), 2u);
  EXPECT_EQ(checkpoint.tensors().size(), 3u);
  ASSERT_EQ(checkpoint.problems().size(), 2u);
  EXPECT_NE(checkpoint.problems()[0].find("model.safetensors: not named"), std::string::npos);
  EXPECT_NE(checkpoint.problems()[1].find("'extra' is not in"), std::string::npos);
}

TEST(Checkpoint, IndexAndShardsMustAgree) {
  {
    Case c;
    c.file("model.safetensors", {"a"});
    c.index(R"({"a":"model.safetensors","b":"model.safetensors"})");
    c.expect_refused("tensor 'b' is missing from model.safetensors");
  }
  {
    Case c;
    c.file("model-1.safetensors", {"a", "b"});
    c.file("model-2.safetensors", {"c"});
    c.index(R"({"a":"model-1.safetensors","b":"model-2.safetensors","c":"model-2.safetensors"})");
    c.expect_refused("tensor 'b' is in model-1.safetensors, expected it in model-2.safetensors");
  }
  {
    Case c;
    c.file("model-1.safetensors", {"a"});
    c.index(R"({"a":"model-1.safetensors","b":"model-2.safetensors"})");
    c.expect_refused("names the shard 'model-2.safetensors', which is missing");
  }
}

TEST(Checkpoint, DuplicatesAreRefusedNamingBothFiles) {
  Case c;
  c.file("model-1.safetensors", {"a"});
  c.file("model-2.safetensors", {"b", "a"});
  c.expect_refused("tensor 'a' is in both model-1.safetensors and model-2.safetensors");
}

TEST(Checkpoint, HostileIndexesAreRefused) {
  for (const char* name : {"../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "", "..",
                           "x.bin", "a\\\\b.safetensors", "x\\u0000.safetensors"}) {
    Case c;
    c.file("model.safetensors", {"a"});
    c.index(fmt::format(R"({{"a":"{}"}})", name));
    c.expect_refused("expected a plain file name");
  }
  for (const char* map : {"[]", "3", "null", "\"x\""}) {
    Case c;
    c.file("model.safetensors", {"a"});
    c.index(map);
    c.expect_refused("has no object 'weight_map'");
  }
  Case c;
  c.file("model.safetensors", {"a"});
  c.index(R"({"a":1})");
  c.expect_refused("expected a file name");
  c.index("{}");
  c.expect_refused("weight_map is empty");
  write_text(c.dir / "model.safetensors.index.json", "{");
  c.expect_refused("not valid JSON");
}

TEST(Checkpoint, EmptyMissingAndBrokenDirectories) {
  Case c;
  c.expect_refused("has no model*.safetensors");
  expect_error([&] { Checkpoint checkpoint(c.dir / "missing"); }, "cannot read the directory");
  write_text(c.dir / "model.safetensors", "");
  c.expect_refused("model.safetensors] got 0 bytes");
}

TEST(Checkpoint, UnalignedDataAreReadAndReported) {
  Case c;
  const std::string header = R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})";
  write_text(c.dir / "model.safetensors",
             safetensors_text(header + std::string(8 - header.size() % 8, ' '), "xABCD"));
  const Checkpoint checkpoint(c.dir.path());
  EXPECT_EQ(checkpoint.at("w").data[0], std::byte{'A'});
  ASSERT_EQ(checkpoint.problems().size(), 1u);
  EXPECT_NE(checkpoint.problems()[0].find("not aligned"), std::string::npos);
}

}  // namespace
}  // namespace qx
