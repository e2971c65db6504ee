// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstring>

#include "io/posix_file.h"
#include "io/test_files.h"

namespace qx {
namespace {

using namespace testing_files;

SafetensorsHeader parse_safetensors_text(const std::string& file) {
  return parse_safetensors(bytes_of(file), "t");
}

std::string one(const std::string& fields, const std::string& data = std::string(8, 'x')) {
  return safetensors_text("{\"a\":{" + fields + "}}", data);
}

void expect_file_refused(const std::string& file, const std::string& part) {
  expect_error([&] { parse_safetensors_text(file); }, part);
}

TEST(Safetensors, ReadsTensorsInOrderOfOffset) {
  const std::string file = safetensors_text(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[3],"data_offsets":[9,12]},)"
      R"("a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
      R"("empty":{"dtype":"F32","shape":[0,7],"data_offsets":[12,12]},)"
      R"("scalar":{"dtype":"U8","shape":[],"data_offsets":[8,9]}}  )",
      "ABCDEFGHsxyz");
  const SafetensorsHeader header = parse_safetensors_text(file);
  ASSERT_EQ(header.tensors.size(), 4u);
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[0].dtype, DType::kF32);
  EXPECT_EQ(header.tensors[0].shape, (Shape{1, 2}));
  EXPECT_EQ(header.tensors[1].name, "scalar");
  EXPECT_EQ(header.tensors[2].name, "b");
  EXPECT_EQ(std::memcmp(header.tensors[2].data.data(), "xyz", 3), 0);
  EXPECT_EQ(header.tensors[3].name, "empty");
  EXPECT_EQ(header.metadata.at("format"), "pt");
  EXPECT_TRUE(
      parse_safetensors_text(safetensors_text(R"({"__metadata__":null})", "")).metadata.empty());
}

TEST(Safetensors, BrokenFramesAreRefused) {
  expect_file_refused("", "got 0 bytes");
  expect_file_refused("1234567", "got 7 bytes");
  expect_file_refused(le(100, 8) + "{}", "got a header of 100 bytes in a file of 10");
  expect_file_refused(le(UINT64_MAX, 8) + "{}", "expected at most 100000000");
  expect_file_refused(le(100'000'001, 8) + "{}", "expected at most 100000000");
  expect_file_refused(safetensors_text("", ""), "got nothing");
  expect_file_refused(safetensors_text("[]", ""), "got array, expected an object");
  expect_file_refused(safetensors_text("{\"a\":", ""), "not valid JSON");
  expect_file_refused(safetensors_text("{\"a\":1}", ""), "tensor 'a'] got number");
  expect_file_refused(safetensors_text(R"({"__metadata__":{"x":1}})", ""), "expected a string");
  expect_file_refused(safetensors_text(R"({"__metadata__":"x"})", ""), "__metadata__");
  expect_file_refused(safetensors_text("{\"\xFF\":1}", ""), "UTF-8");
}

TEST(Safetensors, BrokenEntriesAreRefusedWithTheTensor) {
  expect_file_refused(one(R"("shape":[2],"data_offsets":[0,8])"), "tensor 'a'] has no 'dtype'");
  expect_file_refused(one(R"("dtype":"F32","data_offsets":[0,8])"), "has no 'shape'");
  expect_file_refused(one(R"("dtype":"F32","shape":[2])"), "has no 'data_offsets'");
  expect_file_refused(one(R"("dtype":"F64","shape":[1],"data_offsets":[0,8])"),
                      "got \"F64\", expected one of BOOL");
  expect_file_refused(one(R"("dtype":7,"shape":[1],"data_offsets":[0,8])"), "dtype: got 7");
  expect_file_refused(one(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), "shape: got number");
  expect_file_refused(one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), "shape: got [-2]");
  expect_file_refused(one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"),
                      "shape: got [2.0]");
  expect_file_refused(one(R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8])"),
                      "shape: got");
  expect_file_refused(one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])"),
                      "too large");
  expect_file_refused(one(R"("dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0])"),
                      "too large");
  expect_file_refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[0])"),
                      "data_offsets: got [0]");
  expect_file_refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[-8,0])"),
                      "data_offsets: got [-8,0]");
  expect_file_refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), "reversed");
  expect_file_refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[1,9])"),
                      "data end at byte 9");
  expect_file_refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615])"),
                      "data end");
  expect_file_refused(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])"),
                      "got 8 bytes of data, expected 4");
  expect_file_refused(
      safetensors_text(
          R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
          "12345678"),
      "tensor 'b'] its data overlap those of 'a'");
  expect_file_refused(
      safetensors_text(
          R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
          "12345678"),
      "key 'a' appears twice");
}

TEST(Safetensors, EveryTruncationIsAnError) {
  const std::string file = one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])");
  EXPECT_NO_THROW(parse_safetensors_text(file));
  for (std::size_t n = 0; n < file.size(); ++n)
    EXPECT_THROW(parse_safetensors_text(file.substr(0, n)), Error) << n;
}

TEST(Safetensors, GapsAreAllowed) {
  const std::string file = one(R"("dtype":"U8","shape":[2],"data_offsets":[5,7])");
  EXPECT_EQ(parse_safetensors_text(file).tensors[0].data.size(), 2u);
}

TEST(SafetensorsWriter, WhatIsWrittenReadsBack) {
  const TestFolder scratch;
  const auto path = scratch / "model.safetensors";
  SafetensorsWriter writer(path,
                           {{"odd \"name\" \xC3\xA9", DType::kU8, {3}},
                            {"w", DType::kF32, {2, 2}},
                            {"none", DType::kF32, {0}}},
                           {{"format", "mlx"}});
  const float values[] = {1, 2, 3, 4};
  writer.write(1, 8, std::as_bytes(std::span(values)).subspan(8));
  writer.write(0, 0, bytes_of("abc"));
  writer.write(1, 0, std::as_bytes(std::span(values)).subspan(0, 8));
  writer.finish();
  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata().at("format"), "mlx");
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.tensors()[0].name, "odd \"name\" \xC3\xA9");
  EXPECT_EQ(std::memcmp(file.tensors()[0].data.data(), "abc", 3), 0);
  EXPECT_EQ(std::memcmp(file.tensors()[1].data.data(), values, 16), 0);
  const std::string text = read_text(path);
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, text.data(), 8);
  EXPECT_EQ(header_bytes % 8, 0u);
  EXPECT_EQ(text.size(), 8 + header_bytes + 19);
}

TEST(SafetensorsWriter, MissingBytesAndWritesOutsideAreOurOwnFault) {
  const TestFolder scratch;
  SafetensorsWriter writer(scratch / "m.safetensors", {{"w", DType::kU8, {4}}}, {});
  writer.write(0, 0, bytes_of("abc"));
  EXPECT_THROW(writer.finish(), InternalError);
  EXPECT_THROW(writer.write(0, 3, bytes_of("xy")), InternalError);
  EXPECT_THROW(writer.write(1, 0, bytes_of("x")), InternalError);
}

TEST(SafetensorsWriter, UnwritablePlacesAreErrors) {
  const TestFolder scratch;
  const auto make = [](const std::filesystem::path& path) {
    SafetensorsWriter writer(path, {{"w", DType::kU8, {4}}}, {});
  };
  expect_error([&] { make(scratch / "missing/m.safetensors"); }, "cannot create the file");
  expect_error([&] { make(scratch.path()); }, "cannot create the file");
}

TEST(PosixFile, AFullDiskIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  PosixFile file("/dev/full");
  expect_error([&] { file.write_at(0, bytes_of("x")); }, "the disk is full");
}

TEST(PosixFile, AFileSizeLimitIsAnErrorAndNoSignal) {
  const TestFolder scratch;
  struct rlimit old {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const struct rlimit small { 1 << 16, old.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string reserve = error_of([&] {
    SafetensorsWriter writer(scratch / "m.safetensors", {{"w", DType::kU8, {1 << 20}}}, {});
  });
  const std::string write = error_of([&] {
    PosixFile file(scratch / "f");
    file.write_at(0, bytes_of(std::string(1 << 17, 'x')));
  });
  ::setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_NE(reserve.find("file size limit"), std::string::npos) << reserve;
  EXPECT_NE(write.find("file size limit"), std::string::npos) << write;
}

}  // namespace
}  // namespace qx
