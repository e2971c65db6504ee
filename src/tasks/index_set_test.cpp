// Sets of rows as text.
// SPDX-License-Identifier: Apache-2.0
#include "tasks/index_set.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "base/random.h"

namespace qx {
namespace {

using Rows = std::vector<std::int64_t>;

TEST(IndexSet, IsRangesInWords) {
  EXPECT_EQ(IndexSet(Rows{}).text(), "");
  EXPECT_EQ(IndexSet(Rows{7}).text(), "7");
  EXPECT_EQ(IndexSet(Rows{0, 1, 2, 5, 8, 9}).text(), "0-2,5,8-9");
  EXPECT_EQ(IndexSet(Rows{0, 1, 2, 5, 8, 9}).first(4), (Rows{0, 1, 2, 5}));
  // From the command line: printf 0-2 | sha256sum
  EXPECT_EQ(IndexSet(Rows{0, 1, 2}).hash(),
            "27e955333e6884ebeb33044da141167a02359c621c4ecdc8eb2f0eadbf8cf61e");
}

TEST(IndexSet, ReadsBackWhatItWroteAndAgreesWithSets) {
  Random random(3);
  for (int i = 0; i < 300; ++i) {
    std::set<std::int64_t> a, b;
    for (int k = 0; k < 12; ++k) {
      a.insert(static_cast<std::int64_t>(random.below(25)));
      if (random.below(3) == 0) b.insert(*a.rbegin());
    }
    if (random.below(2) == 0) b.insert(static_cast<std::int64_t>(random.below(25)));
    const IndexSet x(Rows(a.begin(), a.end())), y(Rows(b.begin(), b.end()));
    EXPECT_EQ(IndexSet::parse(x.text(), "p"), x);
    EXPECT_EQ(x.count(), static_cast<std::int64_t>(a.size()));
    EXPECT_EQ(x.first(99), Rows(a.begin(), a.end()));
    for (std::int64_t row = 0; row < 26; ++row) EXPECT_EQ(x.contains(row), a.contains(row));
    EXPECT_EQ(x.includes(y), std::includes(a.begin(), a.end(), b.begin(), b.end())) << x.text();
  }
}

TEST(IndexSet, RefusesOtherText) {
  for (const char* bad : {"x", "1,", ",1", "1-", "2-1", "1,1", "1,2", "3,1", "-1", "1-2-3", "1 2",
                          "99999999999999999999", "9223372036854775807", "1;2", "1-3,4"}) {
    EXPECT_THROW(IndexSet::parse(bad, "p"), Error) << bad;
  }
  // Large ranges cost no memory.
  EXPECT_EQ(IndexSet::parse("0-9223372036854775806", "p").count(), INT64_MAX);
}

}  // namespace
}  // namespace qx
