// SPDX-License-Identifier: Apache-2.0
#include "kernels/numeric.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace kvcalib::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Numeric, RoundsToTheNearestHalfAndTiesToEven) {
  EXPECT_EQ(round_to_half(1.0f + 0x1p-11f), 1.0f);
  EXPECT_EQ(round_to_half(1.0f + 0x1.8p-10f), 1.0f + 0x1p-9f);
  EXPECT_EQ(round_to_half(1.0f + 0x1.002p-11f), 1.0f + 0x1p-10f);
  EXPECT_EQ(round_to_half(65519.0f), 65504.0f);
  EXPECT_EQ(round_to_half(65520.0f), kInfinity);
  EXPECT_EQ(round_to_half(-0x1p-24f), -0x1p-24f);
  EXPECT_EQ(round_to_half(0x1p-25f), 0.0f);
  EXPECT_TRUE(std::signbit(round_to_half(-0x1p-26f)));
  EXPECT_TRUE(std::isnan(round_to_half(std::nanf(""))));
}

TEST(Numeric, RoundsToTheNearestBfloat16AndTiesToEven) {
  EXPECT_EQ(round_to_bfloat16(1.0f + 0x1p-8f), 1.0f);
  EXPECT_EQ(round_to_bfloat16(1.0f + 0x1.8p-7f), 1.0f + 0x1p-6f);
  EXPECT_EQ(round_to_bfloat16(-1.0f - 0x1.01p-8f), -1.0f - 0x1p-7f);
  EXPECT_EQ(round_to_bfloat16(std::numeric_limits<float>::max()), kInfinity);
  EXPECT_EQ(round_to_bfloat16(0x1p-133f), 0x1p-133f);
  EXPECT_TRUE(std::isnan(round_to_bfloat16(std::nanf(""))));
}

TEST(Numeric, LeavesFloatsAsTheyAre) { EXPECT_EQ(rounded<float>(0x1.fffffep-3f), 0x1.fffffep-3f); }

}  // namespace
}  // namespace kvcalib::kernels
