// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/significance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

namespace kvcalib {
namespace {

TEST(SignTest, IsOneWhenNothingOrEquallyManyFlipped) {
  EXPECT_EQ(sign_test(0, 0), 1);
  EXPECT_EQ(sign_test(7, 7), 1);
  EXPECT_EQ(sign_test(0, 1), 1);  // 2 / 2
}

TEST(SignTest, IsExactOfFewFlips) {
  EXPECT_EQ(sign_test(0, 6), 2.0 / 64);
  EXPECT_EQ(sign_test(5, 1), 14.0 / 64);  // 2 (1 + 6)
  EXPECT_EQ(sign_test(2, 9), 2.0 * (1 + 11 + 55) / 2048);
}

TEST(SignTest, AgreesWithFractionsOfManyFlips) {
  EXPECT_NEAR(sign_test(10, 30) / 0.0022214337732293643, 1, 1e-12);
  EXPECT_NEAR(sign_test(480, 520) / 0.21744829320414094, 1, 1e-12);
  EXPECT_NEAR(sign_test(400, 600) / 2.7284641560660184e-10, 1, 1e-12);
  EXPECT_NEAR(sign_test(5200, 5000) / 0.04878796312682245, 1, 1e-11);
}

TEST(SignTest, DoesNotTellLostFromGained) {
  for (int64_t lost = 0; lost < 12; ++lost)
    for (int64_t gained = 0; gained < 12; ++gained)
      EXPECT_EQ(sign_test(lost, gained), sign_test(gained, lost));
}

TEST(SmallestDifference, TakesSixFlipsToOneSide) {
  EXPECT_TRUE(std::isnan(smallest_significant_difference(5, 0)));
  EXPECT_EQ(smallest_significant_difference(6, 0), 1);
  EXPECT_EQ(smallest_significant_difference(600, 3), 0.01);
}

TEST(SmallestDifference, GrowsWithTheFlips) {
  // By exact fractions: the first difference of that many flips that is below 0.05.
  EXPECT_EQ(smallest_significant_difference(1000, 7), 0.007);
  EXPECT_EQ(smallest_significant_difference(1000, 20), 0.010);
  EXPECT_EQ(smallest_significant_difference(1000, 101), 0.021);
  EXPECT_EQ(smallest_significant_difference(1000, 1000), 0.064);
}

TEST(SmallestDifference, IsTheFirstThatTheSignTestTells) {
  for (const int64_t flips : {6, 7, 8, 9, 30, 31, 200}) {
    const auto least =
        static_cast<int64_t>(std::lround(1000 * smallest_significant_difference(1000, flips)));
    EXPECT_LT(sign_test((flips - least) / 2, (flips + least) / 2), 0.05);
    if (least >= 2) {
      EXPECT_GE(sign_test((flips - least + 2) / 2, (flips + least - 2) / 2), 0.05);
    }
  }
}

TEST(Holm, MultipliesByTheTestsThatAreLeft) {
  const std::vector<double> corrected = holm(std::vector{0.01, 0.04, 0.03, 0.005});
  const std::vector<double> expected = {0.03, 0.06, 0.06, 0.02};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_DOUBLE_EQ(corrected[i], expected[i]);
}

TEST(Holm, NeverExceedsOneNorFallsBehindASmallerOne) {
  const std::vector<double> corrected = holm(std::vector{0.9, 1.0, 0.4, 0.0});
  EXPECT_EQ(corrected, (std::vector<double>{1, 1, 1, 0}));
  EXPECT_TRUE(holm({}).empty());
  EXPECT_EQ(holm(std::vector{0.2}), std::vector{0.2});
}

TEST(StudentTest, IsStudentsDistribution) {
  // One and two degrees of freedom have closed forms, the others come from integrating the density.
  EXPECT_NEAR(student_test({1, 1}, 2), 0.5, 1e-14);
  EXPECT_NEAR(student_test({-3, 1}, 2), 1 - 2 / std::numbers::pi * std::atan(3.0), 1e-14);
  EXPECT_NEAR(student_test({2.5, 1}, 3), 1 - 2.5 / std::sqrt(2 + 6.25), 1e-14);
  EXPECT_NEAR(student_test({2.5, 1}, 4), 0.08770664700806541, 1e-10);
  EXPECT_NEAR(student_test({0.42, 0.1}, 6), 0.008489558963067023, 1e-10);
  EXPECT_NEAR(student_test({2, 1}, 11), 0.07338803477073952, 1e-10);
  EXPECT_NEAR(student_test({1.96, 1}, 48), 0.05593981363168998, 1e-10);
  EXPECT_NEAR(student_test({2.2, 1}, 201), 0.02895230920732128, 1e-10);
}

TEST(StudentTest, KnowsZerosAndWhatCannotBeKnown) {
  EXPECT_EQ(student_test({0, 0}, 9), 1);
  EXPECT_EQ(student_test({0.1, 0}, 9), 0);
  EXPECT_TRUE(std::isnan(student_test({0.1, kUnknown}, 1)));
  EXPECT_TRUE(std::isnan(student_test({kUnknown, 0.1}, 9)));
}

}  // namespace
}  // namespace kvcalib
