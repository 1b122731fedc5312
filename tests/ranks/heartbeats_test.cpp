// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/heartbeats.h"

#include <gtest/gtest.h>

#include <torch/csrc/distributed/c10d/HashStore.hpp>

namespace kvcalib {
namespace {

// The heartbeats of three ranks that meet at one store; a test beats for each.
class HeartbeatsTest : public testing::Test {
 protected:
  // What rank 0 sees in `beats` beats, while rank 1 beats with it.
  std::optional<Loss> watch(int beats) {
    std::optional<Loss> seen;
    for (int i = 0; i < beats && !seen; ++i) {
      second_.beat();
      seen = first_.beat();
    }
    return seen;
  }

  c10d::HashStore store_;
  Heartbeats first_{store_, 0, 3}, second_{store_, 1, 3}, third_{store_, 2, 3};
};

TEST_F(HeartbeatsTest, LoseTheRankThatStandsStillAfterFiveSeconds) {
  third_.beat();
  ASSERT_EQ(watch(1), std::nullopt);
  EXPECT_EQ(Heartbeats::kSilentBeats * Heartbeats::kInterval, std::chrono::seconds(5));
  EXPECT_EQ(watch(Heartbeats::kSilentBeats), std::nullopt);
  EXPECT_EQ(watch(1), (Loss{Loss::Kind::kSilent, 2}));
}

TEST_F(HeartbeatsTest, ForgiveSilenceThatEnds) {
  for (int i = 0; i < 5; ++i) {
    third_.beat();
    EXPECT_EQ(watch(Heartbeats::kSilentBeats), std::nullopt) << i;
  }
}

TEST_F(HeartbeatsTest, LoseNobodyAfterTheirOwnSuspension) {
  third_.beat();
  ASSERT_EQ(watch(Heartbeats::kSilentBeats), std::nullopt);
  third_.beat();  // all three go on, however late it is
  EXPECT_EQ(watch(Heartbeats::kSilentBeats), std::nullopt);
}

TEST_F(HeartbeatsTest, LoseNobodyWhoHasDoneItsPart) {
  third_.beat();
  third_.finish();
  EXPECT_EQ(watch(10 * Heartbeats::kSilentBeats), std::nullopt);
}

TEST_F(HeartbeatsTest, GiveARankFiveMinutesToJoin) {
  EXPECT_EQ(Heartbeats::kJoiningBeats * Heartbeats::kInterval, std::chrono::minutes(5));
  EXPECT_EQ(watch(Heartbeats::kJoiningBeats), std::nullopt);
  EXPECT_EQ(watch(1), (Loss{Loss::Kind::kNotJoined, 2}));
}

TEST_F(HeartbeatsTest, HearOfALossThatAnotherTold) {
  third_.beat();
  ASSERT_EQ(watch(1), std::nullopt);
  tell_loss(store_, {Loss::Kind::kFailed, 2});
  EXPECT_EQ(watch(1), (Loss{Loss::Kind::kFailed, 2}));
}

TEST(Loss, IsTheFirstThatAnybodyTold) {
  c10d::HashStore store;
  EXPECT_EQ(loss_at(store), std::nullopt);
  const Loss first{Loss::Kind::kSilent, 5};
  EXPECT_EQ(tell_loss(store, first), first);
  EXPECT_EQ(tell_loss(store, {Loss::Kind::kFailed, 1}), first);
  EXPECT_EQ(loss_at(store), first);
}

TEST(Loss, NamesItsRank) {
  for (const Loss::Kind kind : {Loss::Kind::kFailed, Loss::Kind::kNotJoined, Loss::Kind::kSilent})
    EXPECT_TRUE((Loss{kind, 41}.text().starts_with("rank 41 has "))) << Loss{kind, 41}.text();
}

}  // namespace
}  // namespace kvcalib
