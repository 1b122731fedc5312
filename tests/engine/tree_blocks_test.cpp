// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/tree_blocks.h"

#include <gtest/gtest.h>

#include "tests/engine/segment_case.h"

namespace kvcalib {
namespace {

TokenTree text(int64_t tokens) { return tree_of({{-1, tokens}}); }
TokenTree branched(int64_t tokens) { return tree_of({{-1, tokens - 2}, {0, 1}, {0, 1}}); }

using Ends = std::vector<int64_t>;

// Where blocks end.
Ends ends_of(const std::vector<TreeBlock>& blocks) {
  Ends ends;
  for (const TreeBlock& block : blocks) ends.push_back(block.last);
  return ends;
}

Ends ends_of(const std::vector<TokenTree>& trees, int64_t most_tokens, const Ends& ends = {}) {
  return ends_of(tree_blocks(trees, {.tokens = most_tokens}, ends));
}

TEST(TreeBlocks, FollowOneAnotherAndCountTheirTokens) {
  const std::vector<TokenTree> trees = {branched(5), branched(7), branched(4), text(3), text(3)};
  const std::vector<TreeBlock> blocks = tree_blocks(trees, {.tokens = 12}, Ends{3});
  ASSERT_EQ(ends_of(blocks), (Ends{2, 3, 5}));
  EXPECT_EQ(blocks[0].first, 0);
  EXPECT_EQ(blocks[1].first, 2);
  EXPECT_EQ(blocks[2].first, 3);
  EXPECT_EQ(blocks[0].tokens, 12);
  EXPECT_EQ(blocks[1].tokens, 4);
  EXPECT_EQ(blocks[2].tokens, 6);
  EXPECT_EQ(blocks[0].keys, (3 + 4 + 4) + (5 + 6 + 6));
  EXPECT_EQ(blocks[2].keys, 6);
}

TEST(TreeBlocks, HoldNoMoreThanTheyMayButForATreeOnItsOwn) {
  const std::vector<TokenTree> trees = {branched(6), branched(20), branched(6), branched(4),
                                        branched(3)};
  EXPECT_EQ(ends_of(trees, 10), (Ends{1, 2, 4, 5}));
  EXPECT_EQ(ends_of(trees, 9), (Ends{1, 2, 3, 5}));
  EXPECT_EQ(ends_of(trees, 1), (Ends{1, 2, 3, 4, 5}));
  EXPECT_EQ(ends_of(trees, 39), (Ends{5}));
  EXPECT_EQ(ends_of(trees, 38), (Ends{4, 5}));
}

TEST(TreeBlocks, HoldNoMoreKeysThanTheyMayButForATreeOnItsOwn) {
  const std::vector<TokenTree> trees = {branched(5), branched(5), branched(12), branched(5),
                                        branched(5)};  // 11 keys, one 32
  const auto found = [&](int64_t keys) {
    return ends_of(tree_blocks(trees, {.tokens = 1000, .keys = keys}, {}));
  };
  EXPECT_EQ(found(76), (Ends{5}));
  EXPECT_EQ(found(75), (Ends{4, 5}));
  EXPECT_EQ(found(22), (Ends{2, 3, 5}));
  EXPECT_EQ(found(21), (Ends{1, 2, 3, 4, 5}));
}

TEST(TreeBlocks, HoldWindowsOfOneLengthOrOtherTrees) {
  const std::vector<TokenTree> trees = {text(300),     text(300), text(301), text(301),
                                        branched(301), text(255), text(9),   branched(300),
                                        text(301),     text(256)};
  EXPECT_EQ(ends_of(trees, 10000), (Ends{2, 4, 8, 9, 10}));
}

TEST(TreeBlocks, EndWhereTheyAreTold) {
  const std::vector<TokenTree> trees(6, text(8));
  EXPECT_EQ(ends_of(trees, 1000, {1, 6, 4, 1}), (Ends{1, 4, 6}));
  EXPECT_EQ(ends_of(trees, 16, {0, 3}), (Ends{2, 3, 5, 6}));
}

TEST(TreeBlocks, OfNothingAreNone) {
  EXPECT_TRUE(tree_blocks({}, {.tokens = 10}, Ends{0}).empty());
  EXPECT_EQ(blocks_of_rank({}, 0, 3), (std::pair<int64_t, int64_t>{0, 0}));
  EXPECT_EQ(blocks_of_rank({}, 2, 3), (std::pair<int64_t, int64_t>{0, 0}));
}

// The tokens of every rank; that the ranks' blocks follow one another is tested beside.
std::vector<int64_t> tokens_of_ranks(const std::vector<TreeBlock>& blocks, int64_t ranks) {
  std::vector<int64_t> tokens;
  int64_t next = 0;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const auto [first, last] = blocks_of_rank(blocks, rank, ranks);
    EXPECT_EQ(first, next) << "rank " << rank << " of " << ranks;
    EXPECT_LE(first, last) << "rank " << rank << " of " << ranks;
    tokens.push_back(0);
    for (int64_t i = first; i < last; ++i) tokens.back() += blocks[static_cast<size_t>(i)].tokens;
    next = last;
  }
  EXPECT_EQ(next, std::ssize(blocks)) << ranks << " ranks";
  return tokens;
}

std::vector<TreeBlock> blocks_of(const std::vector<int64_t>& tokens) {
  std::vector<TreeBlock> blocks;
  for (int64_t i = 0; i < std::ssize(tokens); ++i)
    blocks.push_back({i, i + 1, tokens[static_cast<size_t>(i)]});
  return blocks;
}

TEST(BlocksOfRank, AreDealtOnceAndNoFurtherFromTheirShareThanABlock) {
  const std::vector<std::vector<int64_t>> cases = {
      {5},
      {1, 1},
      {100, 1, 1, 1},
      {1, 1, 1, 100},
      std::vector<int64_t>(17, 3),
      {9, 2, 7, 4, 4, 8, 1, 6, 3, 5, 9, 9, 1, 1, 2, 30, 2}};
  for (const std::vector<int64_t>& tokens : cases) {
    int64_t all = 0, largest = 0;
    for (const int64_t own : tokens) all += own, largest = std::max(largest, own);
    for (int64_t ranks = 1; ranks <= 5; ++ranks)
      for (const int64_t own : tokens_of_ranks(blocks_of(tokens), ranks))
        EXPECT_LE(std::abs(own * ranks - all), largest * ranks) << ranks << " ranks";
  }
}

TEST(BlocksOfRank, AreTheirsInWhoseShareTheirMiddleLies) {
  using Tokens = std::vector<int64_t>;
  EXPECT_EQ(tokens_of_ranks(blocks_of({6, 10}), 2), (Tokens{6, 10}));
  EXPECT_EQ(tokens_of_ranks(blocks_of({7, 4, 9}), 2), (Tokens{11, 9}));
  EXPECT_EQ(tokens_of_ranks(blocks_of({8, 6, 4}), 2), (Tokens{8, 10}));
  EXPECT_EQ(tokens_of_ranks(blocks_of({90, 1, 1}), 3), (Tokens{0, 90, 2}));
}

TEST(BlocksOfRank, AreAsManyWhereThatCanBe) {
  using Tokens = std::vector<int64_t>;
  EXPECT_EQ(tokens_of_ranks(blocks_of(Tokens(12, 4)), 4), Tokens(4, 12));
  EXPECT_EQ(tokens_of_ranks(blocks_of({4, 4, 8, 2, 6}), 3), Tokens(3, 8));
  EXPECT_EQ(tokens_of_ranks(blocks_of(Tokens(5, 7)), 5), Tokens(5, 7));
}

}  // namespace
}  // namespace kvcalib
