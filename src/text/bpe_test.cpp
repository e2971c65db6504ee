// Tests of byte-pair merging against a plain restatement of the rule.
// SPDX-License-Identifier: Apache-2.0
#include "text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/random.h"

namespace qx {
namespace {

using Ids = std::vector<std::int32_t>;

std::array<std::int32_t, 256> ids_of_letters(std::string_view letters) {
  std::array<std::int32_t, 256> ids;
  ids.fill(-1);
  for (std::size_t i = 0; i < letters.size(); ++i) {
    ids[static_cast<unsigned char>(letters[i])] = static_cast<std::int32_t>(i);
  }
  return ids;
}

Ids encode(const Bpe& bpe, std::string_view word) {
  Ids ids;
  bpe.encode(word, ids);
  return ids;
}

// The lowest rank anywhere, leftmost first, one merge at a time.
Ids plain(const Ids& start, const std::vector<Bpe::Merge>& merges) {
  Ids ids = start;
  for (;;) {
    std::size_t best = merges.size(), at = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      for (std::size_t r = merges.size(); r-- > 0;) {
        if (merges[r].left == ids[i] && merges[r].right == ids[i + 1]) {
          if (r < best) best = r, at = i;
          break;  // of equal pairs the later rule counts
        }
      }
    }
    if (best == merges.size()) return ids;
    ids[at] = merges[best].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(Bpe, MergesByRankThenFromTheLeft) {
  // a b c; ab=3 bc=4 abc=5 aa=6
  const std::vector<Bpe::Merge> merges = {{1, 2, 4}, {0, 1, 3}, {0, 4, 5}, {0, 0, 6}};
  const Bpe bpe(ids_of_letters("abc"), merges, std::nullopt);
  EXPECT_EQ(encode(bpe, "abc"), Ids{5});
  EXPECT_EQ(encode(bpe, "ab"), Ids{3});
  EXPECT_EQ(encode(bpe, "aaa"), (Ids{6, 0}));
  EXPECT_EQ(encode(bpe, "b"), Ids{1});
  EXPECT_EQ(encode(bpe, ""), Ids{});
}

TEST(Bpe, UnknownBytes) {
  const std::vector<Bpe::Merge> merges = {{0, 1, 3}};
  EXPECT_EQ(encode(Bpe(ids_of_letters("abc"), merges, std::nullopt), "axxb"), Ids{3});
  EXPECT_EQ(encode(Bpe(ids_of_letters("abc"), merges, Bpe::Unknown{2, false}), "axxb"),
            (Ids{0, 2, 2, 1}));
  EXPECT_EQ(encode(Bpe(ids_of_letters("abc"), merges, Bpe::Unknown{2, true}), "axxb"),
            (Ids{0, 2, 1}));
}

// Random vocabularies; words on both sides of the length where the method changes.
TEST(Bpe, EqualsThePlainRule) {
  Random random(11);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> tokens = {"a", "b", "c", "d"};
    std::map<std::string, std::int32_t> id_of;
    for (std::size_t i = 0; i < tokens.size(); ++i) id_of[tokens[i]] = static_cast<std::int32_t>(i);
    std::vector<Bpe::Merge> merges;
    for (int i = 0; i < 40; ++i) {
      const auto left = static_cast<std::int32_t>(random.below(tokens.size()));
      const auto right = static_cast<std::int32_t>(random.below(tokens.size()));
      const std::string text =
          tokens[static_cast<std::size_t>(left)] + tokens[static_cast<std::size_t>(right)];
      const auto [at, fresh] = id_of.try_emplace(text, static_cast<std::int32_t>(tokens.size()));
      if (fresh) tokens.push_back(text);
      merges.push_back({left, right, at->second});
    }
    const Bpe bpe(ids_of_letters("abcd"), merges, std::nullopt);
    for (int w = 0; w < 60; ++w) {
      std::string word;
      Ids start;
      for (std::uint64_t n = random.below(60); n > 0; --n) {
        const auto letter = static_cast<std::int32_t>(random.below(4));
        word += static_cast<char>('a' + letter);
        start.push_back(letter);
      }
      ASSERT_EQ(encode(bpe, word), plain(start, merges)) << word;
    }
  }
}

TEST(Bpe, AMillionBytesInOneWord) {
  // a, aa, aaaa, .. : a power of two merges to one token
  std::vector<Bpe::Merge> merges;
  for (std::int32_t i = 0; i < 20; ++i) merges.push_back({i, i, i + 1});
  const Bpe bpe(ids_of_letters("a"), merges, std::nullopt);
  EXPECT_EQ(encode(bpe, std::string((1 << 20) + 5, 'a')), (Ids{20, 2, 0}));
}

TEST(ByteAlphabet, IsABijection) {
  std::string all;
  for (std::size_t b = 0; b < 256; ++b) all += static_cast<char>(b);
  EXPECT_EQ(bytes_of_alphabet("\xC4\xA0the"), " the");  // U+0120 stands for the space
  EXPECT_EQ(bytes_of_alphabet("a b"),
            std::nullopt);  // a space has a stand-in, so it is none itself
  EXPECT_EQ(bytes_of_alphabet("\xE4\xBD\xA0"), std::nullopt);
  std::vector<char32_t> points(byte_alphabet().begin(), byte_alphabet().end());
  std::sort(points.begin(), points.end());
  EXPECT_EQ(std::unique(points.begin(), points.end()), points.end());
  EXPECT_EQ(points.back(), 323u);
}

TEST(TextIndex, FindsByText) {
  TextTable table(10);
  TextIndex index(table, 4);
  for (const std::int32_t id : {0, 3, 7}) {
    table.set(static_cast<std::size_t>(id), "token" + std::to_string(id));
    EXPECT_TRUE(index.insert(id));
  }
  table.set(9, "token3");
  EXPECT_FALSE(index.insert(9));
  EXPECT_EQ(index.find("token7"), 7);
  EXPECT_EQ(index.find("token1"), -1);
  EXPECT_EQ(index.find(""), -1);
  EXPECT_TRUE(table.has(3));
  EXPECT_FALSE(table.has(4));
  EXPECT_FALSE(table.has(99));
  EXPECT_EQ(table[4], "");
}

}  // namespace
}  // namespace qx
