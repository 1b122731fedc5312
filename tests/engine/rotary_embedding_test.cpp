// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/rotary_embedding.h"

#include <gtest/gtest.h>

#include <cmath>

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

}  // namespace
}  // namespace kvcalib
