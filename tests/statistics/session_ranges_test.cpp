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

// The angles of so many directions.
std::vector<double> turned_by(double first, double second = 0.0) {
  return {first * kStep, second * kStep};
}

TEST(SessionRanges, AreWhatARotatedTokenTakes) {
  const KvStatistics found = turned_ranges(one_token(), turned_by(6));
  float low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
  for (int direction = 0; direction <= 6; ++direction) {
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

TEST(SessionRanges, CoverAnAngleBetweenTwoDirections) {
  const KvStatistics found = turned_ranges(one_token(), turned_by(0.3));
  EXPECT_NEAR(found.keys.minimum[0], std::cos(kStep) * 3.0 - std::sin(kStep), 1e-6);
  EXPECT_NEAR(found.keys.maximum[1], std::cos(kStep) + std::sin(kStep) * 3.0, 1e-6);
}

TEST(SessionRanges, OfAPairThatTurnsAllAroundAreItsRadius) {
  const auto radius = static_cast<float>(std::hypot(kFirst[0], kSecond[0]));
  for (const double turn : {31.0, 1e9}) {
    const KvStatistics found = turned_ranges(one_token(), turned_by(turn));
    for (size_t channel = 0; channel < 2; ++channel) {
      EXPECT_NEAR(found.keys.maximum[channel], radius, 0.005 * radius);
      EXPECT_NEAR(found.keys.minimum[channel], -radius, 0.005 * radius);
    }
  }
}

TEST(SessionRanges, LeaveWhatDoesNotTurnAndTheValues) {
  KvStatistics before = one_token();
  EXPECT_EQ(turned_ranges(before, turned_by(0)).keys, before.keys);
  EXPECT_EQ(turned_ranges(before, turned_by(40, 40)).values, before.values);
  before.key_reach.clear();
  EXPECT_EQ(turned_ranges(before, turned_by(40, 40)).keys, before.keys);
}

ModelConfig one_head() {
  ModelConfig model;
  model.layers = model.heads = model.kv_heads = 1;
  model.head_dim = 4;
  return model;
}

TEST(SessionRanges, TurnByTheLastPositionAndTheDivisor) {
  const auto rotation = [](const ModelConfig& /*model*/, int64_t /*length*/) {
    return Rotation{{1.0, 0.25}, 2.0, {}};
  };
  EXPECT_EQ(largest_turns(one_head(), 101, rotation), (std::vector<double>{50.0, 12.5}));
  EXPECT_EQ(largest_turns(one_head(), 1, rotation), (std::vector<double>{0.0, 0.0}));
}

// As dynamic NTK does: beyond what the model was trained for, the longer the request the slower.
TEST(SessionRanges, TurnByTheRequestThatTurnsMost) {
  ModelConfig model = one_head();
  model.max_position_embeddings = 1500;
  model.use_logn_attention = true;
  const auto rotation = [](const ModelConfig& asked, int64_t length) {
    EXPECT_FALSE(asked.use_logn_attention);  // whose table would be as long as the session
    return Rotation{{1.0, length > 1500 ? 0.1 : 1.0}, 1.0, {}};
  };
  EXPECT_EQ(largest_turns(model, 8000, rotation), (std::vector<double>{7999.0, 1499.0}));
  std::vector<double> before{0.0, 0.0};
  for (int64_t session = 1; session < 9000; session = session * 5 / 4 + 1) {
    const std::vector<double> turns = largest_turns(model, session, rotation);
    for (size_t pair = 0; pair < 2; ++pair) EXPECT_GE(turns[pair], before[pair]) << session;
    before = turns;
  }
}

StatisticsFile file_of(KvStatistics statistics) {
  StatisticsFile file{std::move(statistics), provenance_of(one_head())};
  file.provenance.length = 8;
  return file;
}

TEST(SessionRanges, AreServedInTheTypeOfTheCache) {
  StatisticsFile file = file_of(one_token());
  int64_t asked = 0;
  const auto rotation = [&](const ModelConfig& /*model*/, int64_t length) {
    asked = std::max(asked, length);
    return Rotation{{0.1, 0.001}, 1.0, {}};
  };
  const ModelConfig model = one_head();
  const std::vector<double> turns{9.9, 0.099};
  const KvStatistics found = served_ranges(file, model, 100, rotation);
  EXPECT_EQ(asked, 100);
  EXPECT_EQ(found.keys, turned_ranges(file.statistics, turns).rounded(model.weight_type).keys);
  asked = 0;
  EXPECT_EQ(served_ranges(file, model, 8, rotation).keys, file.statistics.keys);
  EXPECT_EQ(asked, 0);
  for (float& reach : file.statistics.key_reach) reach *= 1e5f;
  EXPECT_EQ(served_ranges(file, model, 100, rotation).keys.maximum[0], 65504.0f);
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
