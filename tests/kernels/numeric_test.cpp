// SPDX-License-Identifier: Apache-2.0
#include "kernels/numeric.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace kvcalib::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Numeric, RoundsToTheNearestHalfAndTiesToEven) {
  EXPECT_EQ(rounded<Half>(1.0f + 0x1p-11f), 1.0f);
  EXPECT_EQ(rounded<Half>(1.0f + 0x1.8p-10f), 1.0f + 0x1p-9f);
  EXPECT_EQ(rounded<Half>(1.0f + 0x1.002p-11f), 1.0f + 0x1p-10f);
  EXPECT_EQ(rounded<Half>(65519.0f), 65504.0f);
  EXPECT_EQ(rounded<Half>(65520.0f), kInfinity);
  EXPECT_EQ(rounded<Half>(-0x1p-24f), -0x1p-24f);
  EXPECT_EQ(rounded<Half>(0x1p-25f), 0.0f);
  EXPECT_TRUE(std::signbit(rounded<Half>(-0x1p-26f)));
  EXPECT_TRUE(std::isnan(rounded<Half>(std::nanf(""))));
}

TEST(Numeric, RoundsToTheNearestBfloat16AndTiesToEven) {
  EXPECT_EQ(rounded<Bfloat16>(1.0f + 0x1p-8f), 1.0f);
  EXPECT_EQ(rounded<Bfloat16>(1.0f + 0x1.8p-7f), 1.0f + 0x1p-6f);
  EXPECT_EQ(rounded<Bfloat16>(-1.0f - 0x1.01p-8f), -1.0f - 0x1p-7f);
  EXPECT_EQ(rounded<Bfloat16>(std::numeric_limits<float>::max()), kInfinity);
  EXPECT_EQ(rounded<Bfloat16>(0x1p-133f), 0x1p-133f);
  EXPECT_TRUE(std::isnan(rounded<Bfloat16>(std::nanf(""))));
}

TEST(Numeric, BringsEvery16BitValueThereAndBack) {
  for (uint32_t bits = 0; bits < 1 << 16; ++bits) {
    const Half half{static_cast<uint16_t>(bits)};
    const Bfloat16 bfloat16{static_cast<uint16_t>(bits)};
    const float wide = to_float(half), brain = to_float(bfloat16);
    ASSERT_TRUE(std::isnan(wide) || from_float<Half>(wide).bits == bits);
    ASSERT_TRUE(std::isnan(brain) || from_float<Bfloat16>(brain).bits == bits);
    ASSERT_EQ(std::isnan(wide), (bits & 0x7fff) > 0x7c00);
    ASSERT_EQ(std::isnan(brain), (bits & 0x7fff) > 0x7f80);
  }
  EXPECT_EQ(to_float(Half{0x3c01}), 1.0f + 0x1p-10f);
  EXPECT_EQ(to_float(Half{0x8001}), -0x1p-24f);
  EXPECT_EQ(to_float(Half{0xfc00}), -kInfinity);
  EXPECT_EQ(to_float(Bfloat16{0x3f81}), 1.0f + 0x1p-7f);
}

TEST(Numeric, LeavesFloatsAsTheyAre) { EXPECT_EQ(rounded<float>(0x1.fffffep-3f), 0x1.fffffep-3f); }

}  // namespace
}  // namespace kvcalib::kernels
