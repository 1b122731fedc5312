// SPDX-License-Identifier: Apache-2.0
#include "kernels/squared_differences.h"

#include <cmath>
#include <stdexcept>

#include "tests/kernels/differences_case.h"

namespace kvcalib::kernels {
namespace {

template <typename T>
class SquaredDifferences : public ::testing::Test {};
TYPED_TEST_SUITE(SquaredDifferences, ElementTypes);

TYPED_TEST(SquaredDifferences, AgreeWithSumsInDouble) {
  for (const DifferencesShape& shape : differences_shapes()) {
    const DifferencesCase<TypeParam> test(shape);
    for (const bool with_right : {true, false}) {
      std::vector<double> sums(static_cast<size_t>(shape.groups));
      cpu::squared_differences(test.arguments(with_right, sums), 0, shape.rows, sums.data());
      expect_near(sums, test.expected(with_right));
    }
  }
}

TYPED_TEST(SquaredDifferences, OfPartsAddUp) {
  const DifferencesCase<TypeParam> test({50, 3, 24, 5});
  std::vector<double> sums(3);
  const auto arguments = test.arguments(true, sums);
  cpu::squared_differences(arguments, 20, 50, sums.data());
  cpu::squared_differences(arguments, 0, 20, sums.data());
  expect_near(sums, test.expected(true));
}

TEST(SquaredDifferencesOf, EqualRowsAreZeroAndOfNanNan) {
  std::vector<float> left(40, 1.5f), right(40, 1.5f);
  right[9] = std::nanf("");
  std::vector<double> sums(5);
  cpu::squared_differences<float>({.left = left.data(),
                                   .right = right.data(),
                                   .left_stride = 40,
                                   .right_stride = 40,
                                   .rows = 1,
                                   .groups = 5,
                                   .columns = 8,
                                   .parts = nullptr,
                                   .sums = sums.data()},
                                  0, 1, sums.data());
  EXPECT_EQ(sums[0], 0);
  EXPECT_TRUE(std::isnan(sums[1]));
  EXPECT_EQ(sums[4], 0);
}

TEST(SquaredDifferencesOf, RefusesWhatDoesNotFit) {
  const DifferencesCase<float> test({2, 2, 8, 0});
  std::vector<double> sums(2);
  auto arguments = test.arguments(true, sums);
  arguments.right_stride = 15;
  EXPECT_THROW(cpu::squared_differences(arguments, 0, 2, sums.data()), std::invalid_argument);
  arguments = test.arguments(true, sums);
  arguments.columns = 0;
  EXPECT_THROW(cpu::squared_differences(arguments, 0, 2, sums.data()), std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels
