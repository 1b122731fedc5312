// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/session_ranges.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/statistics/statistics_bytes.h"

namespace kvcalib {
namespace {

constexpr double kStep = 2.0 * std::numbers::pi / kReachDirections;

// K of one token, two rotary pairs: what each is before its rotation.
constexpr double kFirst[2] = {3.0, 0.5}, kSecond[2] = {1.0, -2.0};

// The statistics of that token at position 0.
KvStatistics one_token() {
  KvStatistics statistics(1, 1, 4);
  statistics.values.minimum.assign(4, -1.0f);
  statistics.values.maximum.assign(4, 1.0f);
  for (size_t pair = 0; pair < 2; ++pair) {
    for (int i = 0; i < kReachDirections; ++i)
      statistics.key_reach.push_back(static_cast<float>(kFirst[pair] * std::cos(i * kStep) +
                                                        kSecond[pair] * std::sin(i * kStep)));
    for (const double k : {kFirst[pair], kSecond[pair]}) {
      statistics.keys.minimum[2 * pair + (k == kSecond[pair])] = static_cast<float>(k);
      statistics.keys.maximum[2 * pair + (k == kSecond[pair])] = static_cast<float>(k);
    }
  }
  return statistics;
}

// The first pair turns by two directions a token, the second by none that matters.
Rotation slow_rotation() { return {{2.0 * kStep, 1e-9}, 1.0, {}}; }

TEST(SessionRanges, AreWhatARotatedTokenTakes) {
  const KvStatistics found = ranges_of_session(one_token(), slow_rotation(), 1, 4);
  float low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
  for (int direction = 0; direction <= 6; ++direction) {  // three tokens on
    const double c = std::cos(direction * kStep), s = std::sin(direction * kStep);
    const double turned[2] = {c * kFirst[0] - s * kSecond[0], c * kSecond[0] + s * kFirst[0]};
    for (int i = 0; i < 2; ++i) {
      low[i] = std::min(low[i], static_cast<float>(turned[i]));
      high[i] = std::max(high[i], static_cast<float>(turned[i]));
    }
  }
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_NEAR(found.keys.minimum[i], low[i], 1e-6) << i;
    EXPECT_NEAR(found.keys.maximum[i], high[i], 1e-6) << i;
  }
}

TEST(SessionRanges, CoverAPositionBetweenTwoDirections) {
  // A third of a direction a token: the last of 2 is on the way to the next.
  const Rotation rotation{{kStep / 3.0, 0.0}, 1.0, {}};
  const KvStatistics found = ranges_of_session(one_token(), rotation, 1, 2);
  EXPECT_NEAR(found.keys.minimum[0], std::cos(kStep) * 3.0 - std::sin(kStep), 1e-6);
  EXPECT_NEAR(found.keys.maximum[1], std::cos(kStep) + std::sin(kStep) * 3.0, 1e-6);
}

TEST(SessionRanges, LeaveWhatDoesNotTurnAndTheValues) {
  const KvStatistics before = one_token();
  const KvStatistics found = ranges_of_session(before, {{0.0, 0.0}, 1.0, {}}, 1, int64_t{1} << 20);
  EXPECT_EQ(found.keys, before.keys);
  EXPECT_EQ(ranges_of_session(before, slow_rotation(), 1, 64).values, before.values);
}

TEST(SessionRanges, DivideTheAngle) {
  Rotation rotation = slow_rotation();
  const KvStatistics once = ranges_of_session(one_token(), rotation, 1, 3);
  rotation.divisor = 2.0;
  EXPECT_EQ(ranges_of_session(one_token(), rotation, 1, 5).keys, once.keys);
}

TEST(SessionRanges, LeaveAPairThatTurnedAllAroundWithinAWindow) {
  const KvStatistics before = one_token();
  // 32 directions in 17 tokens, 28 in 15.
  const KvStatistics left = ranges_of_session(before, slow_rotation(), 17, 100);
  EXPECT_EQ(left.keys, before.keys);
  const KvStatistics turned = ranges_of_session(before, slow_rotation(), 15, 100);
  const auto radius = static_cast<float>(std::hypot(kFirst[0], kSecond[0]));
  EXPECT_NEAR(turned.keys.maximum[0], radius, 0.005 * radius);
  EXPECT_NEAR(turned.keys.minimum[0], -radius, 0.005 * radius);
  EXPECT_EQ(ranges_of_session(before, slow_rotation(), 0, 100).keys, turned.keys);
}

TEST(SessionRanges, AreThoseOfWindowsThatAreAsLongOrDoNotTell) {
  KvStatistics statistics = one_token();
  EXPECT_EQ(ranges_of_session(statistics, slow_rotation(), 8, 8).keys, statistics.keys);
  EXPECT_EQ(ranges_of_session(statistics, slow_rotation(), 8, 7).keys, statistics.keys);
  statistics.key_reach.clear();
  EXPECT_EQ(ranges_of_session(statistics, slow_rotation(), 1, 100).keys, statistics.keys);
}

StatisticsFile file_of(KvStatistics statistics) {
  ModelConfig model;
  model.layers = model.heads = model.kv_heads = 1;
  model.head_dim = 4;
  StatisticsFile file{std::move(statistics), provenance_of(model)};
  file.provenance.length = 8;
  return file;
}

TEST(SessionRanges, AreServedInTheTypeOfTheCache) {
  StatisticsFile file = file_of(one_token());
  int64_t asked = 0;
  const auto rotation = [&](const ModelConfig& /*model*/, int64_t length) {
    asked = length;
    return slow_rotation();
  };
  const KvStatistics found = served_ranges(file, 100, rotation);
  EXPECT_EQ(asked, 100);
  EXPECT_EQ(found.keys, ranges_of_session(file.statistics, slow_rotation(), 8, 100)
                            .rounded(file.provenance.model.weight_type)
                            .keys);
  asked = 0;
  EXPECT_EQ(served_ranges(file, 8, rotation).keys, file.statistics.keys);
  EXPECT_EQ(asked, 0);
}

TEST(SessionRanges, AreKnownForTheWindowsWhereTheReachIsNot) {
  StatisticsFile file = file_of(one_token());
  EXPECT_EQ(known_length(file, 100), 100);
  EXPECT_EQ(known_length(file, 0), 8);
  EXPECT_EQ(known_length(file, int64_t{1} << 40), kLongestSession);
  file.statistics.key_reach.clear();
  EXPECT_EQ(known_length(file, 100), 8);
}

}  // namespace
}  // namespace kvcalib
