// SPDX-License-Identifier: Apache-2.0
#include "base/byte_size.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace qx {
namespace {

TEST(ByteSize, Parses) {
  EXPECT_EQ(parse_bytes("16GB", "--fit"), 16'000'000'000);
  EXPECT_EQ(parse_bytes("16GiB", "--fit"), 17'179'869'184);
  EXPECT_EQ(parse_bytes("8000MB", "--fit"), 8'000'000'000);
  EXPECT_EQ(parse_bytes("1.5TB", "--fit"), 1'500'000'000'000);
  EXPECT_EQ(parse_bytes("16 GB", "--fit"), 16'000'000'000);
  EXPECT_EQ(parse_bytes("16G", "--fit"), 16'000'000'000);
  EXPECT_EQ(parse_bytes("512KiB", "--fit"), 524288);
  EXPECT_EQ(parse_bytes("100B", "--fit"), 100);
  for (const char* text :
       {"", "GB", "16", "16XB", "-1GB", "0GB", "nanGB", "infGB", "1e30GB", "16gb x", "1e400GB"}) {
    EXPECT_THROW(parse_bytes(text, "--fit"), UsageError) << text;
  }
}

}  // namespace
}  // namespace qx
