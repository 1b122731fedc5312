// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/local_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <torch/csrc/distributed/c10d/FileStore.hpp>

#include "sharding/ranks/loss.h"

namespace kvcalib {
namespace {

TEST(LocalStore, IsReadWithoutTheLockThatRanksTakeAlsoBesideAnEntryWrittenByHalf) {
  const LocalStore local;
  EXPECT_TRUE(local.is_empty());
  EXPECT_EQ(loss_at(local), std::nullopt);
  {
    c10d::FileStore store(local.path(), -1);
    store.set("another", std::vector<uint8_t>(100, 7));
    EXPECT_EQ(local.value_of("another"), std::string(100, 7));
    EXPECT_FALSE(delivered_at(local));
    tell_delivered(store);
    tell_loss(store, {Loss::Kind::kSilent, 3});
  }
  const int file = open(local.path().c_str(), O_WRONLY | O_APPEND);
  ASSERT_GE(file, 0);
  const std::string half("\x09\0\0\0/half", 9);
  EXPECT_EQ(write(file, half.data(), half.size()), static_cast<ssize_t>(half.size()));
  close(file);
  EXPECT_FALSE(local.is_empty());
  EXPECT_TRUE(delivered_at(local));
  EXPECT_EQ(loss_at(local), (Loss{Loss::Kind::kSilent, 3}));
  EXPECT_EQ(local.value_of("half-key"), std::nullopt);
}

}  // namespace
}  // namespace kvcalib
