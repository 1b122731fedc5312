// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/rotary_table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>

namespace kvcalib {
namespace {

constexpr size_t kPairs = 64;
constexpr int64_t kPositions = 40;

RotaryTable table(double divisor) {
  return make_rotary_table({frequencies_of(10000.0, 2 * kPairs), divisor, {}}, kPositions);
}

// How a pair is turned at a position: a point of the unit circle.
std::complex<double> turn(const RotaryTable& table, int64_t position, size_t pair) {
  const size_t index = static_cast<size_t>(position) * kPairs + pair;
  return {table.cosine[index], table.sine[index]};
}

TEST(RotaryTable, TurnsNothingAtPositionZero) {
  const RotaryTable found = table(1.0);
  ASSERT_EQ(found.cosine.size(), kPositions * kPairs);
  ASSERT_EQ(found.sine.size(), kPositions * kPairs);
  for (size_t pair = 0; pair < kPairs; ++pair)
    EXPECT_EQ(turn(found, 0, pair), std::complex<double>(1.0, 0.0));
}

TEST(RotaryTable, TurnsTheFirstPairByARadianAPosition) {
  const RotaryTable found = table(1.0);
  for (int64_t position = 0; position < kPositions; ++position) {
    const std::complex<double> expected = std::polar(1.0, static_cast<double>(position));
    EXPECT_LT(std::abs(turn(found, position, 0) - expected), 1e-7) << "position " << position;
  }
}

TEST(RotaryTable, TurnsByTheSumOfTwoPositionsAsByOneAfterTheOther) {
  const RotaryTable found = table(1.0);
  for (const auto& [p, q] : {std::pair<int64_t, int64_t>{1, 1}, {3, 14}, {12, 27}})
    for (size_t pair = 0; pair < kPairs; ++pair)
      EXPECT_LT(std::abs(turn(found, p, pair) * turn(found, q, pair) - turn(found, p + q, pair)),
                3e-7)
          << p << " and " << q << ", pair " << pair;
}

TEST(RotaryTable, TurnsEveryPairSlowerThanTheOneBefore) {
  const RotaryTable found = table(1.0);
  for (size_t pair = 1; pair < kPairs; ++pair)
    EXPECT_LT(std::arg(turn(found, 1, pair)), std::arg(turn(found, 1, pair - 1)));
}

TEST(RotaryTable, DividesPositions) {
  const RotaryTable whole = table(1.0), divided = table(3.0);
  for (int64_t position = 0; 3 * position < kPositions; ++position)
    for (size_t pair = 0; pair < kPairs; ++pair)
      EXPECT_EQ(turn(divided, 3 * position, pair), turn(whole, position, pair));
}

}  // namespace
}  // namespace kvcalib
