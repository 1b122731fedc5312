// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/percentiles.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

namespace kvcalib {
namespace {

TEST(Percentiles, AreNumpys) {
  constexpr std::array kPercents = {100.0, 99.9, 99.0, 95.0, 90.0, 75.0, 50.0,
                                    25.0,  10.0, 5.0,  1.0,  0.1,  0.0};
  constexpr std::array kExpected = {8.0,   7.99775, 7.9775,  7.8875,  7.775,    5.375, 2.0,
                                    0.625, -1.525,  -2.7625, -3.7525, -3.97525, -4.0};
  const auto found = percentiles({3.5, -1.25, 8, 0.5, 2, 2, 7.75, -4, 1, 6}, kPercents);
  ASSERT_EQ(found.size(), kExpected.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], kExpected[i], 1e-12) << i;
}

TEST(Percentiles, OfOneValueAreThatValue) {
  for (const double value : percentiles({7}, std::array{0.0, 33.0, 100.0})) EXPECT_EQ(value, 7);
}

TEST(Percentiles, OfEqualValuesAreThatValueToTheBit) {
  for (const double value : percentiles({0.1, 0.1, 0.1, 0.1}, std::array{0.1, 33.3, 99.9}))
    EXPECT_EQ(value, 0.1);
}

TEST(Percentiles, AreUnknownOfNothingAndOfWhatIsNotFinite) {
  EXPECT_TRUE(std::isnan(median({})));
  EXPECT_TRUE(std::isnan(median({1, std::nan(""), 2})));
  EXPECT_TRUE(std::isnan(median({1, std::numeric_limits<double>::infinity()})));
}

TEST(Percentiles, MedianLiesBetweenTheTwoInTheMiddle) {
  EXPECT_EQ(median({4, 1, 3}), 3);
  EXPECT_EQ(median({4, 1, 3, 10}), 3.5);
}

}  // namespace
}  // namespace kvcalib
