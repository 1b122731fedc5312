// SPDX-License-Identifier: Apache-2.0
#include "calibrate/generation/block_pool.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

namespace kvcalib {
namespace {

using Blocks = std::vector<int32_t>;

TEST(BlockPool, HandsOutEveryBlockOnce) {
  BlockPool pool(5);
  EXPECT_EQ(pool.free(), 5);
  const Blocks first = pool.take(2), second = pool.take(3);
  EXPECT_EQ(pool.free(), 0);
  std::set<int32_t> all(first.begin(), first.end());
  all.insert(second.begin(), second.end());
  EXPECT_EQ(all, (std::set<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(pool.take(0).empty());
  EXPECT_THROW(pool.take(1), std::invalid_argument);
  EXPECT_THROW(pool.take(-1), std::invalid_argument);
}

TEST(BlockPool, TakesABlockBackWhenNobodyHoldsItAnyMore) {
  BlockPool pool(3);
  const Blocks common = pool.take(2);
  pool.share(common);
  pool.give_back(common);
  EXPECT_EQ(pool.free(), 1);
  pool.give_back(common);
  EXPECT_EQ(pool.free(), 3);
  EXPECT_THROW(pool.give_back(common), std::invalid_argument);
  EXPECT_EQ(pool.take(3).size(), 3U);
}

TEST(BlockPool, CountsBlocksOfTokens) {
  EXPECT_EQ(blocks_of(0), 0);
  EXPECT_EQ(blocks_of(1), 1);
  EXPECT_EQ(blocks_of(64), 1);
  EXPECT_EQ(blocks_of(65), 2);
}

}  // namespace
}  // namespace kvcalib
