// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/rotary_table.h"

#include <gtest/gtest.h>

#include <cmath>

namespace kvcalib {
namespace {

TEST(RotaryTable, TurnsPairJByPositionTimesBaseToTheMinusTwoJOverD) {
  const RotaryTable table = make_rotary_table({frequencies_of(10000.0, 128), 1.0, {}}, 5);
  ASSERT_EQ(table.cosine.size(), 5U * 64U);
  EXPECT_FLOAT_EQ(table.cosine[0], 1.0F);
  EXPECT_FLOAT_EQ(table.sine[3 * 64], std::sin(3.0F));
  const double angle = 4.0 * std::pow(10000.0, -2.0 * 10 / 128);
  EXPECT_FLOAT_EQ(table.cosine[4 * 64 + 10], static_cast<float>(std::cos(angle)));
}

TEST(RotaryTable, DividesPositions) {
  const RotaryTable table = make_rotary_table({frequencies_of(10000.0, 128), 2.5, {}}, 11);
  const double angle = 10 / 2.5 * std::pow(10000.0, -2.0 * 7 / 128);
  EXPECT_FLOAT_EQ(table.sine[10 * 64 + 7], static_cast<float>(std::sin(angle)));
}

}  // namespace
}  // namespace kvcalib
