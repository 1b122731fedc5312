// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/rotary_embedding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace kvcalib {
namespace {

RuntimeRelease release(const char* text) { return RuntimeRelease::parse(text); }

ModelConfig model() {
  ModelConfig config;
  config.head_dim = 128;
  config.max_position_embeddings = 2048;
  return config;
}

double scaled(double alpha) { return 10000.0 * std::pow(alpha, 128.0 / 126.0); }

TEST(RotaryEmbedding, RotatesPairJByPositionTimesBaseToTheMinusTwoJOverD) {
  const RotaryTable table = make_rotary_table(model(), release("0.3.0"), 5);
  ASSERT_EQ(table.cosine.size(), 5U * 64U);
  EXPECT_FLOAT_EQ(table.cosine[0], 1.0F);
  EXPECT_FLOAT_EQ(table.sine[3 * 64], std::sin(3.0F));
  const double angle = 4.0 * std::pow(10000.0, -2.0 * 10 / 128);
  EXPECT_FLOAT_EQ(table.cosine[4 * 64 + 10], static_cast<float>(std::cos(angle)));
  EXPECT_TRUE(table.query_scale.empty());
}

TEST(RotaryEmbedding, TakesRopeThetaAsTheBase) {
  ModelConfig config = model();
  config.rope_theta = 1e6;
  EXPECT_EQ(rotary_base(config, release("0.3.0"), 2048), 1e6);
}

TEST(RotaryEmbedding, StepsTheBaseInPowersOfTwoFromV006ToV0014) {
  ModelConfig config = model();
  config.use_dynamic_ntk = true;
  EXPECT_EQ(rotary_base(config, release("0.0.5"), 8000), 10000.0);
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.0.14"), 2047), 10000.0);
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.0.14"), 2048), 10000.0);
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.0.14"), 3000), scaled(3));
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.0.14"), 4096), scaled(3));
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.0.6"), 5000), scaled(7));
}

TEST(RotaryEmbedding, ScalesTheBaseByTheRequestFromV010ToV026) {
  ModelConfig config = model();
  config.rope_scaling_factor = 2.0;
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.2.6"), 2048), 10000.0);
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.1.0"), 2048), scaled(2));
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.1.0"), 4096), scaled(3));
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.2.0"), 4096), scaled(3));
  config.rope_scaling_factor = 0.5;
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.2.0"), 4096), 10000.0);
}

TEST(RotaryEmbedding, ScalesLinearlyInV030UnlessDynamicNtkIsSet) {
  ModelConfig config = model();
  config.rope_scaling_factor = 4.0;
  EXPECT_EQ(position_divisor(config, release("0.3.0")), 4.0);
  EXPECT_EQ(position_divisor(config, release("0.2.6")), 1.0);
  EXPECT_EQ(rotary_base(config, release("0.3.0"), 4096), 10000.0);
  config.use_dynamic_ntk = true;
  EXPECT_EQ(position_divisor(config, release("0.3.0")), 1.0);
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.3.0"), 4096), scaled(5));
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.3.0"), 2048), 10000.0);
}

TEST(RotaryEmbedding, KnowsWhichReleasesRotateAlike) {
  ModelConfig config = model();
  EXPECT_TRUE(rotate_alike(config, release("0.0.14"), config, release("0.3.0"), 4096));
  config.rope_scaling_factor = 2.0;
  EXPECT_FALSE(rotate_alike(config, release("0.2.6"), config, release("0.3.0"), 2048));
  EXPECT_FALSE(rotate_alike(config, release("0.1.0"), config, release("0.2.0"), 2048));
  EXPECT_TRUE(rotate_alike(config, release("0.1.0"), config, release("0.2.0"), 4096));
  EXPECT_FALSE(rotate_alike(model(), release("0.3.0"), config, release("0.3.0"), 2048));
}

TEST(RotaryEmbedding, ScalesQueriesBeyondTheTrainedLengthWithLogn) {
  ModelConfig config = model();
  config.use_logn_attention = true;
  config.max_position_embeddings = 16;
  EXPECT_TRUE(make_rotary_table(config, release("0.3.0"), 16).query_scale.empty());
  const RotaryTable table = make_rotary_table(config, release("0.3.0"), 32);
  ASSERT_EQ(table.query_scale.size(), 32U);
  EXPECT_EQ(table.query_scale[15], 1.0F);
  EXPECT_FLOAT_EQ(table.query_scale[31], std::log(32.0F) / std::log(16.0F));
}

ModelConfig own(RopeScaling::Kind kind, double factor) {
  ModelConfig config = model();
  config.own_rotation = RopeScaling{kind, factor, 1.0, 4.0, 2048};
  return config;
}

// Keys of config.ini and the release mean nothing to a model that rotates by its own rules.
TEST(RotaryEmbedding, RotatesByTheModelsOwnRulesOnEveryRelease) {
  ModelConfig config = own(RopeScaling::Kind::kNone, 1.0);
  config.rope_scaling_factor = 4.0;
  config.use_dynamic_ntk = true;
  for (const char* const name : {"0.0.5", "0.0.14", "0.1.0", "0.2.6", "0.3.0"}) {
    EXPECT_EQ(rotary_base(config, release(name), 8192), 10000.0);
    EXPECT_EQ(position_divisor(config, release(name)), 1.0);
    EXPECT_TRUE(rotate_alike(config, release(name), config, release("0.3.0"), 8192));
  }
}

TEST(RotaryEmbedding, DividesPositionsByTheModelsLinearFactor) {
  const ModelConfig config = own(RopeScaling::Kind::kLinear, 2.5);
  EXPECT_EQ(position_divisor(config, release("0.0.5")), 2.5);
  const RotaryTable table = make_rotary_table(config, release("0.3.0"), 11);
  const double angle = 10 / 2.5 * std::pow(10000.0, -2.0 * 7 / 128);
  EXPECT_FLOAT_EQ(table.sine[10 * 64 + 7], static_cast<float>(std::sin(angle)));
}

TEST(RotaryEmbedding, GrowsTheModelsDynamicBaseWithTheLength) {
  const ModelConfig config = own(RopeScaling::Kind::kDynamic, 2.0);
  EXPECT_EQ(rotary_base(config, release("0.3.0"), 1000), 10000.0);
  EXPECT_EQ(rotary_base(config, release("0.3.0"), 2048), 10000.0);
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.3.0"), 3072), scaled(2.0 * 3072 / 2048 - 1.0));
}

TEST(RotaryEmbedding, StepsQwensBaseInPowersOfTwo) {
  const ModelConfig config = own(RopeScaling::Kind::kQwen, 1.0);
  EXPECT_EQ(rotary_base(config, release("0.3.0"), 100), 10000.0);
  EXPECT_EQ(rotary_base(config, release("0.3.0"), 2048), 10000.0);
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.3.0"), 2049), scaled(3));
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.3.0"), 4096), scaled(3));
  EXPECT_DOUBLE_EQ(rotary_base(config, release("0.3.0"), 4097), scaled(7));
}

TEST(RotaryEmbedding, BlendsLlama3sFrequenciesByTheirWavelengths) {
  ModelConfig config = model();
  config.rope_theta = 500000.0;
  config.own_rotation = RopeScaling{RopeScaling::Kind::kLlama3, 8.0, 1.0, 4.0, 8192};
  const std::vector<double> found = rotary_frequencies(config, release("0.3.0"), 2048);
  ASSERT_EQ(found.size(), 64U);
  int64_t kept = 0, divided = 0;
  for (size_t pair = 0; pair < 64; ++pair) {
    const double frequency = std::pow(500000.0, -static_cast<double>(pair) / 64.0);
    const double wavelength = 2.0 * std::numbers::pi / frequency;
    double expected = frequency;
    if (wavelength > 8192.0 / 1.0) {
      expected = frequency / 8.0;
      ++divided;
    } else if (wavelength < 8192.0 / 4.0) {
      ++kept;
    } else {
      const double smooth = (8192.0 / wavelength - 1.0) / (4.0 - 1.0);
      expected = (1.0 - smooth) * frequency / 8.0 + smooth * frequency;
    }
    EXPECT_NEAR(found[pair] / expected, 1.0, 1e-12) << "pair " << pair;
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(divided, 0);
  EXPECT_LT(kept + divided, 64);
  EXPECT_FALSE(rotate_alike(config, release("0.3.0"), model(), release("0.3.0"), 2048));
}

}  // namespace
}  // namespace kvcalib
