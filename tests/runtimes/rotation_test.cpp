// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/rotation.h"

#include <gtest/gtest.h>

#include <cmath>

namespace kvcalib {
namespace {

const TurboMindRelease& release(const char* text) { return find_turbomind_release(text); }

ModelConfig model() {
  ModelConfig config;
  config.head_dim = 128;
  config.max_position_embeddings = 2048;
  return config;
}

// The base of a prompt's angles: pair 1 turns by base^(-2 / 128).
double base(const ModelConfig& config, const char* name, int64_t length) {
  return std::pow(rotation_on(release(name), config, length).frequencies[1], -64.0);
}

double scaled(double alpha) { return 10000.0 * std::pow(alpha, 128.0 / 126.0); }

TEST(RotationOnRelease, TakesRopeThetaAsTheBase) {
  ModelConfig config = model();
  config.rope_theta = 1e6;
  EXPECT_NEAR(base(config, "0.3.0", 2048) / 1e6, 1.0, 1e-12);
}

TEST(RotationOnRelease, StepsTheBaseInPowersOfTwoFromV006ToV0014) {
  ModelConfig config = model();
  config.use_dynamic_ntk = true;
  EXPECT_NEAR(base(config, "0.0.5", 8000) / 10000.0, 1.0, 1e-12);
  EXPECT_NEAR(base(config, "0.0.14", 2047) / 10000.0, 1.0, 1e-12);
  EXPECT_NEAR(base(config, "0.0.14", 2048) / 10000.0, 1.0, 1e-12);
  EXPECT_NEAR(base(config, "0.0.14", 3000) / scaled(3), 1.0, 1e-12);
  EXPECT_NEAR(base(config, "0.0.14", 4096) / scaled(3), 1.0, 1e-12);
  EXPECT_NEAR(base(config, "0.0.6", 5000) / scaled(7), 1.0, 1e-12);
}

TEST(RotationOnRelease, ScalesTheBaseByTheRequestFromV010ToV026) {
  ModelConfig config = model();
  config.rope_scaling_factor = 2.0;
  EXPECT_NEAR(base(config, "0.2.6", 2048) / 10000.0, 1.0, 1e-12);
  EXPECT_NEAR(base(config, "0.1.0", 2048) / scaled(2), 1.0, 1e-12);
  EXPECT_NEAR(base(config, "0.1.0", 4096) / scaled(3), 1.0, 1e-12);
  EXPECT_NEAR(base(config, "0.2.0", 4096) / scaled(3), 1.0, 1e-12);
  config.rope_scaling_factor = 0.5;
  EXPECT_NEAR(base(config, "0.2.0", 4096) / 10000.0, 1.0, 1e-12);
}

TEST(RotationOnRelease, ScalesLinearlyInV030UnlessDynamicNtkIsSet) {
  ModelConfig config = model();
  config.rope_scaling_factor = 4.0;
  EXPECT_EQ(rotation_on(release("0.3.0"), config, 2048).divisor, 4.0);
  EXPECT_EQ(rotation_on(release("0.2.6"), config, 2048).divisor, 1.0);
  EXPECT_NEAR(base(config, "0.3.0", 4096) / 10000.0, 1.0, 1e-12);
  config.use_dynamic_ntk = true;
  EXPECT_EQ(rotation_on(release("0.3.0"), config, 2048).divisor, 1.0);
  EXPECT_NEAR(base(config, "0.3.0", 4096) / scaled(5), 1.0, 1e-12);
  EXPECT_NEAR(base(config, "0.3.0", 2048) / 10000.0, 1.0, 1e-12);
}

TEST(RotationOnRelease, KnowsWhichReleasesRotateAlike) {
  ModelConfig config = model();
  EXPECT_EQ(rotation_on(release("0.0.14"), config, 4096),
            rotation_on(release("0.3.0"), config, 4096));
  config.rope_scaling_factor = 2.0;
  EXPECT_NE(rotation_on(release("0.2.6"), config, 2048),
            rotation_on(release("0.3.0"), config, 2048));
  EXPECT_NE(rotation_on(release("0.1.0"), config, 2048),
            rotation_on(release("0.2.0"), config, 2048));
  EXPECT_EQ(rotation_on(release("0.1.0"), config, 4096),
            rotation_on(release("0.2.0"), config, 4096));
  EXPECT_NE(rotation_on(release("0.3.0"), model(), 2048),
            rotation_on(release("0.3.0"), config, 2048));
}

TEST(RotationOnRelease, ScalesQueriesBeyondTheTrainedLengthWithLogn) {
  ModelConfig config = model();
  config.use_logn_attention = true;
  config.max_position_embeddings = 16;
  EXPECT_TRUE(rotation_on(release("0.3.0"), config, 16).query_scale.empty());
  const Rotation rotation = rotation_on(release("0.3.0"), config, 32);
  ASSERT_EQ(rotation.query_scale.size(), 32U);
  EXPECT_EQ(rotation.query_scale[15], 1.0F);
  EXPECT_FLOAT_EQ(rotation.query_scale[31], std::log(32.0F) / std::log(16.0F));
}

// Keys of config.ini and the release mean nothing to a model that rotates by its own rules.
TEST(RotationOnRelease, IsTheModelsOwnWhereItHasRulesOfItsOwn) {
  ModelConfig config = model();
  config.own_rotation = RopeScaling{RopeScaling::Kind::kNone, 1.0, 1.0, 4.0, 2048};
  config.rope_scaling_factor = 4.0;
  config.use_dynamic_ntk = true;
  for (const char* const name : {"0.0.5", "0.0.14", "0.1.0", "0.2.6", "0.3.0"}) {
    const Rotation rotation = rotation_on(release(name), config, 8192);
    EXPECT_EQ(rotation, own_rotation(config, 8192));
    EXPECT_EQ(rotation.frequencies, frequencies_of(10000.0, 128));
    EXPECT_EQ(rotation.divisor, 1.0);
  }
}

}  // namespace
}  // namespace kvcalib
