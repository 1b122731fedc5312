// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/rotation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace kvcalib {
namespace {

ModelConfig model() {
  ModelConfig config;
  config.head_dim = 128;
  config.max_position_embeddings = 2048;
  return config;
}

ModelConfig own(RopeScaling::Kind kind, double factor) {
  ModelConfig config = model();
  config.own_rotation = RopeScaling{kind, factor, 1.0, 4.0, 2048};
  return config;
}

// The base of a prompt's angles: pair 1 turns by base^(-2 / 128).
double base(const ModelConfig& config, int64_t length) {
  return std::pow(own_rotation(config, length).frequencies[1], -64.0);
}

double scaled(double alpha) { return 10000.0 * std::pow(alpha, 128.0 / 126.0); }

TEST(OwnRotation, DividesPositionsByTheModelsLinearFactor) {
  const ModelConfig config = own(RopeScaling::Kind::kLinear, 2.5);
  const Rotation rotation = own_rotation(config, 11);
  EXPECT_EQ(rotation.divisor, 2.5);
  EXPECT_EQ(rotation.frequencies, frequencies_of(10000.0, 128));
}

TEST(OwnRotation, GrowsTheModelsDynamicBaseWithTheLength) {
  const ModelConfig config = own(RopeScaling::Kind::kDynamic, 2.0);
  EXPECT_NEAR(base(config, 1000) / 10000.0, 1.0, 1e-12);
  EXPECT_NEAR(base(config, 2048) / 10000.0, 1.0, 1e-12);
  EXPECT_NEAR(base(config, 3072) / scaled(2.0 * 3072 / 2048 - 1.0), 1.0, 1e-12);
}

TEST(OwnRotation, StepsQwensBaseInPowersOfTwo) {
  const ModelConfig config = own(RopeScaling::Kind::kQwen, 1.0);
  EXPECT_NEAR(base(config, 100) / 10000.0, 1.0, 1e-12);
  EXPECT_NEAR(base(config, 2048) / 10000.0, 1.0, 1e-12);
  EXPECT_NEAR(base(config, 2049) / scaled(3), 1.0, 1e-12);
  EXPECT_NEAR(base(config, 4096) / scaled(3), 1.0, 1e-12);
  EXPECT_NEAR(base(config, 4097) / scaled(7), 1.0, 1e-12);
}

// So many pairs that neighbours differ little.
TEST(OwnRotation, BlendsLlama3sFrequenciesByTheirWavelengths) {
  ModelConfig config = model();
  config.head_dim = 8192;
  config.rope_theta = 500000.0;
  config.own_rotation = RopeScaling{RopeScaling::Kind::kLlama3, 8.0, 1.0, 4.0, 8192};
  const std::vector<double> own = own_rotation(config, 2048).frequencies;
  const std::vector<double> plain = frequencies_of(500000.0, 8192);
  ASSERT_EQ(own.size(), plain.size());
  int64_t kept = 0, divided = 0, between = 0;
  double before = 1.0;
  for (size_t pair = 0; pair < own.size(); ++pair) {
    const double turns = 8192 * plain[pair] / (2.0 * std::numbers::pi);  // in the old context
    const double ratio = own[pair] / plain[pair];
    if (turns > 4.0) {
      EXPECT_NEAR(ratio, 1.0, 1e-12) << turns << " turns";
      ++kept;
    } else if (turns < 1.0) {
      EXPECT_NEAR(ratio, 1.0 / 8.0, 1e-12) << turns << " turns";
      ++divided;
    } else {
      EXPECT_TRUE(1.0 / 8.0 < ratio && ratio < 1.0) << turns << " turns";
      EXPECT_LT(ratio, before);
      ++between;
    }
    EXPECT_LT(before - ratio, 0.01) << "a leap at " << turns << " turns";
    before = ratio;
  }
  EXPECT_TRUE(kept > 0 && divided > 0 && between > 0);
}

}  // namespace
}  // namespace kvcalib
