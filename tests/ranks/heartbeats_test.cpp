// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/heartbeats.h"

#include <gtest/gtest.h>

#include <torch/csrc/distributed/c10d/HashStore.hpp>

namespace kvcalib {
namespace {

using Clock = Heartbeats::Clock;

// The heartbeats of three ranks that meet at one store; a test beats for each.
class HeartbeatsTest : public testing::Test {
 protected:
  // What rank 0 sees while rank 1 beats with it for so long, each beat `late` behind its time.
  std::optional<Loss> watch(Clock::duration time, Clock::duration late = Clock::duration{0}) {
    std::optional<Loss> seen;
    for (const Clock::time_point end = now_ + time; now_ < end && !seen;) {
      now_ += Heartbeats::kInterval + late;
      second_.beat(now_);
      seen = first_.beat(now_);
    }
    return seen;
  }

  Clock::time_point now_;
  c10d::HashStore store_;
  Heartbeats first_{store_, 0, 3, false}, second_{store_, 1, 3, false}, third_{store_, 2, 3, false};
};

TEST_F(HeartbeatsTest, LoseTheRankThatStandsStillAfterFiveSeconds) {
  third_.beat(now_);
  ASSERT_EQ(watch(Heartbeats::kInterval), std::nullopt);
  EXPECT_EQ(Heartbeats::kSilence, std::chrono::seconds(5));
  EXPECT_EQ(watch(Heartbeats::kSilence), std::nullopt);
  EXPECT_EQ(watch(Heartbeats::kInterval), (Loss{Loss::Kind::kSilent, 2}));
}

TEST_F(HeartbeatsTest, LoseItAfterFiveSecondsAlsoWhereEveryBeatComesLate) {
  third_.beat(now_);
  const Clock::duration late = Heartbeats::kMostOfABeat - Heartbeats::kInterval;
  ASSERT_EQ(watch(late, late), std::nullopt);
  EXPECT_EQ(watch(Heartbeats::kSilence, late), std::nullopt);
  EXPECT_EQ(watch(late, late), (Loss{Loss::Kind::kSilent, 2}));
}

TEST_F(HeartbeatsTest, MissTheOthersOnlyWhereNobodyHasJoinedForAMoment) {
  const auto wait_alone = [&](Heartbeats& beats) {
    for (Clock::duration waited{0}; waited <= Heartbeats::kPatience;
         waited += Heartbeats::kInterval)
      beats.beat(now_ += Heartbeats::kInterval);
  };
  first_.beat(now_);
  EXPECT_FALSE(first_.nobody_has_joined());
  wait_alone(first_);
  EXPECT_TRUE(first_.nobody_has_joined());
  wait_alone(third_);
  EXPECT_FALSE(third_.nobody_has_joined());  // the first has
}

TEST_F(HeartbeatsTest, ForgiveSilenceThatEnds) {
  for (int i = 0; i < 5; ++i) {
    third_.beat(now_);
    EXPECT_EQ(watch(Heartbeats::kSilence), std::nullopt) << i;
  }
}

TEST_F(HeartbeatsTest, LoseNobodyAfterTheirOwnSuspension) {
  third_.beat(now_);
  ASSERT_EQ(watch(Heartbeats::kSilence - 2 * Heartbeats::kMostOfABeat), std::nullopt);
  now_ += std::chrono::hours(1);
  ASSERT_EQ(watch(Heartbeats::kInterval), std::nullopt);
  third_.beat(now_);  // all three go on, however late it is
  EXPECT_EQ(watch(Heartbeats::kSilence), std::nullopt);
}

TEST_F(HeartbeatsTest, LoseNobodyWhoHasDoneItsPart) {
  third_.beat(now_);
  third_.finish();
  EXPECT_EQ(watch(10 * Heartbeats::kSilence), std::nullopt);
}

TEST_F(HeartbeatsTest, GiveARankFiveMinutesToJoin) {
  EXPECT_EQ(Heartbeats::kJoining, std::chrono::minutes(5));
  ASSERT_EQ(watch(Heartbeats::kInterval), std::nullopt);
  EXPECT_EQ(watch(Heartbeats::kJoining), std::nullopt);
  EXPECT_EQ(watch(Heartbeats::kInterval), (Loss{Loss::Kind::kNotJoined, 2}));
}

TEST_F(HeartbeatsTest, GiveARankThatIsKnownToBeStartedAMinute) {
  Heartbeats first(store_, 0, 3, true);
  second_.beat(now_);
  EXPECT_EQ(first.beat(now_), std::nullopt);
  std::optional<Loss> seen;
  while (!seen) {
    now_ += Heartbeats::kInterval;
    second_.beat(now_);
    seen = first.beat(now_);
  }
  EXPECT_EQ(seen, (Loss{Loss::Kind::kNotStarted, 2}));
  EXPECT_EQ(now_ - Clock::time_point(), std::chrono::minutes(1) + Heartbeats::kInterval);
}

TEST_F(HeartbeatsTest, HearOfALossThatAnotherTold) {
  third_.beat(now_);
  ASSERT_EQ(watch(Heartbeats::kInterval), std::nullopt);
  tell_loss(store_, {Loss::Kind::kFailed, 2});
  EXPECT_EQ(watch(Heartbeats::kInterval), (Loss{Loss::Kind::kFailed, 2}));
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
  for (const Loss::Kind kind :
       {Loss::Kind::kFailed, Loss::Kind::kNotJoined, Loss::Kind::kSilent, Loss::Kind::kNotStarted})
    EXPECT_TRUE((Loss{kind, 41}.text().starts_with("rank 41 has "))) << Loss{kind, 41}.text();
}

}  // namespace
}  // namespace kvcalib
