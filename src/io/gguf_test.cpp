// SPDX-License-Identifier: Apache-2.0
#include "io/gguf.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "io/gguf_builder.h"
#include "io/gguf_golden.h"
#include "io/test_files.h"

namespace qx {
namespace {

using namespace testing_files;

GgufHeader parse(const std::string& file) {
  return parse_gguf(bytes_of(file), "t");
}
void expect_refused(const std::string& file, const std::string& part) {
  expect_error([&] { parse(file); }, part);
}

TEST(Gguf, ReadsMetadataOfEveryType) {
  GgufBuilder b;
  b.key("u8", 0, le(200, 1)).key("i8", 1, le(0xFE, 1)).key("u16", 2, le(60000, 2));
  b.key("i16", 3, le(0xFFFF, 2))
      .key("u32", 4, le(4'000'000'000u, 4))
      .key("i32", 5, le(0xFFFFFFFF, 4));
  b.key("f32", 6, le(std::bit_cast<std::uint32_t>(1.5f), 4)).key("bool", 7, le(1, 1));
  b.text("s", "h\xC3\xA9").key("u64", 10, le(UINT64_MAX, 8)).key("i64", 11, le(UINT64_MAX, 8));
  b.key("f64", 12, le(std::bit_cast<std::uint64_t>(-2.25), 8));
  b.key("a", 9, le(8, 4) + le(2, 8) + gguf_text("x") + gguf_text(""));
  const GgufHeader h = parse(b.build());
  EXPECT_EQ(std::get<std::uint64_t>(h.metadata.at("u8").value), 200u);
  EXPECT_EQ(std::get<std::int64_t>(h.metadata.at("i8").value), -2);
  EXPECT_EQ(std::get<std::uint64_t>(h.metadata.at("u16").value), 60000u);
  EXPECT_EQ(std::get<std::int64_t>(h.metadata.at("i16").value), -1);
  EXPECT_EQ(std::get<std::uint64_t>(h.metadata.at("u32").value), 4'000'000'000u);
  EXPECT_EQ(std::get<std::int64_t>(h.metadata.at("i32").value), -1);
  EXPECT_EQ(std::get<double>(h.metadata.at("f32").value), 1.5);
  EXPECT_TRUE(std::get<bool>(h.metadata.at("bool").value));
  EXPECT_EQ(std::get<std::string>(h.metadata.at("s").value), "h\xC3\xA9");
  EXPECT_EQ(std::get<std::uint64_t>(h.metadata.at("u64").value), UINT64_MAX);
  EXPECT_EQ(std::get<std::int64_t>(h.metadata.at("i64").value), -1);
  EXPECT_EQ(std::get<double>(h.metadata.at("f64").value), -2.25);
  const auto& array = std::get<GgufArray>(h.metadata.at("a").value);
  ASSERT_EQ(array.size(), 2u);
  EXPECT_EQ(std::get<std::string>(array[0].value), "x");
}

TEST(Gguf, ReadsTensorsWithReversedDimensions) {
  GgufBuilder b;
  b.tensor("w", {2, 3}, 0, std::string(24, 'a')).tensor("v", {32}, 8, std::string(34, 'b'));
  const std::string file = b.build();
  const GgufHeader h = parse(file);
  ASSERT_EQ(h.tensors.size(), 2u);
  EXPECT_EQ(h.tensors[0].shape, (Shape{2, 3}));
  EXPECT_EQ(h.tensors[0].data[0], std::byte{'a'});
  EXPECT_EQ(h.tensors[1].type, GgufType::kQ8_0);
  EXPECT_EQ(h.tensors[1].data.size(), 34u);
  EXPECT_EQ(h.tensors[1].data[0], std::byte{'b'});
}

TEST(Gguf, AlignmentOfTheMetadataIsUsed) {
  GgufBuilder b;
  b.alignment = 256;
  b.key("general.alignment", 4, le(256, 4)).tensor("w", {1}, 0, "abcd").tensor("x", {1}, 0, "efgh");
  EXPECT_EQ(parse(b.build()).tensors[1].data[0], std::byte{'e'});
  for (const std::uint64_t bad : {0u, 3u, 1u << 21}) {
    expect_refused(GgufBuilder().key("general.alignment", 4, le(bad, 4)).build(), "power of two");
  }
  expect_refused(GgufBuilder().text("general.alignment", "32").build(), "power of two");
}

TEST(Gguf, BrokenFramesAreRefused) {
  expect_refused("", "needs 4 bytes");
  expect_refused("GGUG" + le(3, 4) + std::string(16, '\0'), "does not start with 'GGUF'");
  expect_refused("GGUF" + le(1, 4) + std::string(16, '\0'), "version 1, expected 2 or 3");
  expect_refused("GGUF" + le(0x03000000, 4) + std::string(16, '\0'), "big-endian");
  EXPECT_NO_THROW(parse("GGUF" + le(2, 4) + le(0, 8) + le(0, 8)));
  expect_refused("GGUF" + le(3, 4) + le(UINT64_MAX, 8) + le(0, 8), "tensors, more than");
  expect_refused("GGUF" + le(3, 4) + le(0, 8) + le(UINT64_MAX, 8), "metadata keys, more than");
  expect_refused("GGUF" + le(3, 4) + le(0, 8) + le(1, 8) + le(UINT64_MAX - 4, 8) + "12345",
                 "a metadata key, more than");
}

TEST(Gguf, BrokenMetadataAreRefused) {
  expect_refused(GgufBuilder().key("k", 13, "").build(), "got value type 13");
  expect_refused(GgufBuilder().key("k", 7, le(2, 1)).build(), "for a boolean");
  expect_refused(GgufBuilder().key("k", 4, le(1, 4)).key("k", 4, le(1, 4)).build(),
                 "key 'k' appears twice");
  expect_refused(GgufBuilder().key("\xFF", 4, le(1, 4)).build(), "not UTF-8");
  expect_refused(GgufBuilder().key("k", 8, le(1u << 30, 8)).build(), "more than");
  expect_refused(GgufBuilder().key("k", 9, le(4, 4) + le(UINT64_MAX, 8)).build(),
                 "array elements, more than");
  expect_refused(GgufBuilder().key("k", 9, le(8, 4) + le(1000, 8)).build(),
                 "array elements, more than");
  std::string nested;
  for (int i = 0; i < 100; ++i) nested += le(9, 4) + le(1, 8);
  expect_refused(GgufBuilder().key("k", 9, nested + le(0, 4) + le(0, 8)).build(),
                 "nested deeper than 4");
  const std::string many = le(0, 4) + le((1u << 22) + 1, 8) + std::string((1u << 22) + 1, 'x');
  expect_refused(GgufBuilder().key("k", 9, many).build(), "more than 4194304 values");
}

TEST(Gguf, BrokenTensorsAreRefusedByName) {
  const std::string four(4, 'x');
  expect_refused(GgufBuilder().tensor("w", {}, 0, four).build(), "tensor 'w'] got 0 dimensions");
  expect_refused(GgufBuilder().tensor("w", {1, 1, 1, 1, 1}, 0, four).build(), "got 5 dimensions");
  expect_refused(GgufBuilder().tensor("w", {INT64_MIN}, 0, four).build(),
                 "got dimension 9223372036854775808");
  expect_refused(GgufBuilder().tensor("w", {1LL << 40, 1LL << 40}, 0, four).build(), "too large");
  expect_refused(GgufBuilder().tensor("w", {INT64_MAX}, 0, four).build(), "too large");
  expect_refused(GgufBuilder().tensor("w", {2}, 0, four).build(), "got 8 bytes at offset 0");
  expect_refused(GgufBuilder().tensor("v", {1}, 0, four).tensor("w", {2}, 0, four).build(),
                 "got 8 bytes at offset 32");
  expect_refused(GgufBuilder().tensor("w", {256}, 12, four).build(),
                 "got type 12 (Q4_K), expected one of F32");
  expect_refused(GgufBuilder().tensor("w", {1}, 999, four).build(), "got type 999 (unknown)");
  expect_refused(GgufBuilder().tensor("w", {33}, 8, std::string(68, 'x')).build(),
                 "a multiple of 32 for Q8_0");
  expect_refused(GgufBuilder().tensor("w", {1}, 0, four).tensor("w", {1}, 0, four).build(),
                 "'w' appears twice");
  expect_refused(GgufBuilder().tensor("a", {1}, 0, four).tensor("b", {1}, 0, four, 0).build(),
                 "overlap");
  expect_refused(GgufBuilder().tensor("w", {1}, 0, four, 1).build(), "expected a multiple of 32");
  expect_refused(GgufBuilder().tensor("w", {1}, 0, four, UINT64_MAX - 31).build(),
                 "is the file whole");
}

TEST(Gguf, EveryTruncationIsAnError) {
  GgufBuilder b;
  b.text("general.architecture", "llama").key("a", 9, le(4, 4) + le(2, 8) + le(7, 8));
  b.tensor("w", {32}, 2, std::string(18, 'x'));
  const std::string file = b.build();
  EXPECT_NO_THROW(parse(file));
  for (std::size_t n = 0; n < file.size(); ++n) EXPECT_THROW(parse(file.substr(0, n)), Error) << n;
}

TEST(Gguf, EveryFlippedBitIsReadOrRefused) {
  GgufBuilder b;
  b.text("k", "v")
      .key("a", 9, le(4, 4) + le(2, 8) + le(7, 8))
      .tensor("w", {32}, 2, std::string(18, 'x'));
  const std::string file = b.build();
  for (std::size_t bit = 0; bit < file.size() * 8; ++bit) {
    std::string broken = file;
    broken[bit / 8] = static_cast<char>(broken[bit / 8] ^ 1 << (bit % 8));
    try {
      for (const GgufTensor& t : parse(broken).tensors) {
        std::vector<float> values(static_cast<std::size_t>(*element_count(t.shape)));
        gguf_decode(t, 0, values);
      }
    } catch (const Error&) {
    }
  }
}

template <std::size_t N, std::size_t M>
void expect_golden(GgufType type, const std::uint8_t (&raw)[N], const std::uint32_t (&bits)[M]) {
  const GgufTensor tensor{"w", type, {2, 32}, std::as_bytes(std::span(raw))};
  std::vector<float> values(64);
  gguf_decode(tensor, 0, values);
  for (std::size_t i = 0; i < 64; ++i) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(values[i]), bits[i]) << gguf_type_name(type) << " " << i;
  }
  std::vector<float> tail(32);
  gguf_decode(tensor, 32, tail);
  EXPECT_EQ(std::memcmp(tail.data(), values.data() + 32, 128), 0);
}

TEST(GgufDecode, BlockTypesEqualTheGgufPackageBitForBit) {
  expect_golden(GgufType::kQ4_0, golden::kQ4_0, golden::kQ4_0Values);
  expect_golden(GgufType::kQ4_1, golden::kQ4_1, golden::kQ4_1Values);
  expect_golden(GgufType::kQ5_0, golden::kQ5_0, golden::kQ5_0Values);
  expect_golden(GgufType::kQ5_1, golden::kQ5_1, golden::kQ5_1Values);
  expect_golden(GgufType::kQ8_0, golden::kQ8_0, golden::kQ8_0Values);
}

TEST(GgufDecode, FloatTypesAtAnyPosition) {
  const std::string data = le(0x3C00, 2) + le(0xC000, 2) + le(0x0001, 2);
  const GgufTensor half{"h", GgufType::kF16, {3}, bytes_of(data)};
  float values[2];
  gguf_decode(half, 1, values);
  EXPECT_EQ(values[0], -2.0f);
  EXPECT_EQ(values[1], 0x1p-24f);
  const GgufTensor bf16{"b", GgufType::kBF16, {3}, bytes_of(data)};
  gguf_decode(bf16, 0, values);
  EXPECT_EQ(values[1], -2.0f);
}

TEST(GgufDecode, RangesOutsideAreOurOwnFault) {
  const GgufTensor tensor{"w", GgufType::kQ4_0, {2, 32}, std::as_bytes(std::span(golden::kQ4_0))};
  std::vector<float> values(64);
  EXPECT_THROW(gguf_decode(tensor, 32, values), InternalError);
  EXPECT_THROW(gguf_decode(tensor, 1, std::span(values).first(32)), InternalError);
  EXPECT_THROW(gguf_decode(tensor, 0, std::span(values).first(31)), InternalError);
}

}  // namespace
}  // namespace qx
