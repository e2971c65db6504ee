// SPDX-License-Identifier: Apache-2.0
#include "distance/base_states.h"

#include <gtest/gtest.h>

#include <cmath>
#include <span>

#include "base/error.h"
#include "support/test_folder.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

Json identity(int ctx = 512) {
  return {{"files", {{"model.safetensors", "abc"}}}, {"windows", {{"ctx", ctx}}}};
}

void write_states(const fs::path& file) {
  StatesWriter writer(file, identity(), 3, 2);
  writer.append({1, 2, {1, 2}});
  writer.append({0, 2, {}});
  writer.append({2, 2, {3, 4, -0.0f, 1e-42f}});
  const BaseStates states = writer.commit();
  EXPECT_EQ(states.rows(), 3);
  EXPECT_EQ(states.read(0, 3).values, (std::vector<float>{1, 2, 3, 4, -0.0f, 1e-42f}));
}

std::string load_message(const fs::path& file, const Json& wanted = identity()) {
  try {
    BaseStates::load(file, wanted);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(BaseStates, MemoryAndFileGiveTheSameBits) {
  TestFolder folder;
  write_states({});
  write_states(folder / "s.qx");
  const BaseStates states = BaseStates::load(folder / "s.qx", identity());
  const Hidden rows = states.read(1, 2);
  EXPECT_EQ(rows.rows, 2);
  EXPECT_EQ(rows.values, (std::vector<float>{3, 4, -0.0f, 1e-42f}));
  EXPECT_TRUE(std::signbit(rows.values[2]));
  EXPECT_EQ(states.read(3, 0).rows, 0);
}

TEST(BaseStates, WholeOrAbsent) {
  TestFolder folder;
  fs::create_directory(folder / "d");
  {
    StatesWriter writer(folder / "d" / "s.qx", identity(), 3, 2);
    writer.append({1, 2, {1, 2}});
  }
  EXPECT_TRUE(fs::is_empty(folder / "d"));
}

TEST(BaseStates, AnotherRunIsToldByItsFirstDifference) {
  TestFolder folder;
  write_states(folder / "s.qx");
  EXPECT_NE(
      load_message(folder / "s.qx", identity(1024)).find("windows.ctx: got 512, expected 1024"),
      std::string::npos);
  Json more = identity();
  more["precision"] = "exact";
  EXPECT_NE(load_message(folder / "s.qx", more).find("precision: got null, expected \"exact\""),
            std::string::npos);
  Json less = identity();
  less.erase("files");
  EXPECT_NE(load_message(folder / "s.qx", less).find("files: got "), std::string::npos);
}

TEST(BaseStates, EveryDamagedByteAndEveryLengthIsNoticed) {
  TestFolder folder;
  write_states(folder / "s.qx");
  const std::string good = read_text(folder / "s.qx");
  ASSERT_EQ(good.size() % 8, 0u);
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    write_text(folder / "bad.qx", bad);
    EXPECT_NE(load_message(folder / "bad.qx"), "no error") << at;
  }
  for (std::size_t size = 0; size < good.size(); ++size) {
    write_text(folder / "bad.qx", good.substr(0, size));
    EXPECT_NE(load_message(folder / "bad.qx"), "no error") << size;
  }
  write_text(folder / "bad.qx", good + "12345678");
  EXPECT_NE(load_message(folder / "bad.qx").find("expected 4 bytes a value"), std::string::npos);
}

TEST(BaseStates, SizesThatWouldOverflowAreRefused) {
  const auto file = [](const std::string& header, std::uint32_t size) {
    std::string bytes = "QXSTATES";
    const std::uint32_t numbers[] = {1, size};
    bytes.append(reinterpret_cast<const char*>(numbers), 8);
    return bytes + header;
  };
  const auto message = [](const std::string& bytes) -> std::string {
    try {
      parse_states(std::as_bytes(std::span(bytes)), "s");
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  const std::string huge = R"({"identity":{},"rows":4611686018427387904,"width":4,"sha256":""})";
  EXPECT_NE(message(file(huge, static_cast<std::uint32_t>(huge.size()))).find("rows"),
            std::string::npos);
  EXPECT_NE(message(file("{}", 0xFFFFFFFFu)).find("expected one that fits"), std::string::npos);
  EXPECT_NE(message(file("{}", 2)).find("identity"), std::string::npos);
  const std::string none = R"({"identity":{},"rows":0,"width":0,"sha256":""})";
  EXPECT_NE(message(file(none, static_cast<std::uint32_t>(none.size()))), "no error");
}

}  // namespace
}  // namespace qx
