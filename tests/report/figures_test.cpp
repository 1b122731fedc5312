// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/figures.h"

#include <gtest/gtest.h>

#include <limits>

namespace kvcalib {
namespace {

TEST(Figures, HaveTheirDigits) {
  EXPECT_EQ(significant(0.000170123), "0.0001701");
  EXPECT_EQ(significant(0.0000170123), "1.701e-05");
  EXPECT_EQ(significant(25.42134, 6), "25.4213");
  EXPECT_EQ(decimals(99.125, 1), "99.1");
  EXPECT_EQ(signed_decimals(0.314, 2), "+0.31");
  EXPECT_EQ(signed_decimals(-2, 2), "-2.00");
  EXPECT_EQ(signed_decimals(0, 2), "0.00");
}

TEST(Figures, ShowTheirErrors) {
  EXPECT_EQ(significant(Estimate{0.00017012, 0.0000021}), "0.0001701 ± 2.1e-06");
  EXPECT_EQ(decimals(Estimate{50, 1.25}, 1), "50.0 ± 1.2");
  EXPECT_EQ(signed_decimals(Estimate{1.5, 0.5}, 2), "+1.50 ± 0.50");
}

TEST(Figures, AreADashWhereUnknown) {
  EXPECT_EQ(significant(kUnknown), "-");
  EXPECT_EQ(decimals(std::numeric_limits<double>::infinity(), 2), "-");
  EXPECT_EQ(signed_decimals(-kUnknown, 2), "-");
  EXPECT_EQ(significant(Estimate{1.5, kUnknown}), "1.5 ± -");
}

}  // namespace
}  // namespace kvcalib
