// SPDX-License-Identifier: Apache-2.0
#include "serve/prefix_tree.h"

#include <gtest/gtest.h>

#include "model/kv_segment.h"

namespace qx {
namespace {

constexpr KvShape kTinyShape{1, 1, 1, KvBits::k32};

class PrefixTreeTest : public ::testing::Test {
 protected:
  static std::shared_ptr<CpuSegment> segment(const PrefixTree::Node* parent) {
    return std::make_shared<CpuSegment>(
        parent != nullptr ? std::static_pointer_cast<const CpuSegment>(parent->segment) : nullptr,
        kTinyShape, kPrefixBlock);
  }
  // A block of one token.
  static std::vector<TokenId> block(TokenId id) {
    return std::vector<TokenId>(static_cast<std::size_t>(kPrefixBlock), id);
  }
  static std::vector<TokenId> blocks(TokenId first, TokenId second) {
    std::vector<TokenId> out = block(first);
    const std::vector<TokenId> more = block(second);
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  PrefixTree::Node* add(TokenId id, PrefixTree::Node* parent = nullptr) {
    return tree_.add(parent, block(id), segment(parent));
  }
  bool has(TokenId id) {
    for (const PrefixTree::Entry& e : tree_.entries()) {
      if (e.tokens[0] == id) return true;
    }
    return false;
  }

  PrefixTree tree_{1, 3 * kPrefixBlock};  // three blocks
};

TEST_F(PrefixTreeTest, TheLeafThatWasUsedLongestAgoMakesRoom) {
  PrefixTree::Node* a = add(1);
  add(2, a);
  add(3);
  EXPECT_TRUE(tree_.full());
  EXPECT_EQ(tree_.find(blocks(1, 2)).tokens, 2 * kPrefixBlock);
  add(4);
  EXPECT_EQ(tree_.bytes(), 3 * kPrefixBlock);
  EXPECT_FALSE(has(3));
  EXPECT_EQ(tree_.find(blocks(4, 4)).tokens, kPrefixBlock);
  // Of 1 and its child 2 the child goes, though both were used then; after that 1, a leaf now.
  add(5);
  EXPECT_TRUE(has(1) && !has(2));
  add(6);
  EXPECT_TRUE(!has(1) && has(4) && has(5) && has(6));
}

TEST_F(PrefixTreeTest, WhatALiveTextContinuesStays) {
  PrefixTree::Node* a = add(1);
  PrefixTree::Node* b = add(2, a);
  const auto live = segment(b);
  add(3);
  const auto other = segment(tree_.find(block(3)).node);
  EXPECT_EQ(add(4), nullptr);
  EXPECT_TRUE(has(1) && has(2) && has(3));
}

TEST_F(PrefixTreeTest, ABlockThatIsThereIsNotAddedAgain) {
  const PrefixTree::Node* a = add(1);
  EXPECT_EQ(add(1), nullptr);
  EXPECT_EQ(tree_.find(block(1)).node, a);
  EXPECT_EQ(tree_.bytes(), kPrefixBlock);
}

TEST_F(PrefixTreeTest, UsesAfterALoadAreLaterThanThoseBefore) {
  PrefixTree::Node* a = add(1);
  PrefixTree::Node* b = add(2);
  tree_.set_used(*a, 1000);
  tree_.set_used(*b, 999);
  add(3);
  (void)tree_.find(block(2));
  add(4);
  EXPECT_TRUE(!has(1) && has(2) && has(3) && has(4));
}

}  // namespace
}  // namespace qx
