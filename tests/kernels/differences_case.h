// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "kernels/squared_differences.h"
#include "tests/kernels/kernel_test_data.h"

namespace kvcalib::kernels {

// The dimensions of a call of squared_differences; `others`: columns behind the groups.
struct DifferencesShape {
  int64_t rows, groups, columns, others;

  int64_t stride() const { return groups * columns + others; }
};

// Fewer rows than parts, widths that break chunks, strides that break alignment.
inline std::vector<DifferencesShape> differences_shapes() {
  return {{1, 1, 8, 0},    {100, 4, 128, 0}, {1024, 1, 4096, 8}, {33, 3, 80, 16},
          {1000, 2, 7, 1}, {257, 5, 96, 3},  {64, 1, 1, 0},      {0, 2, 16, 0}};
}

// The operands of one call in host memory.
template <typename T>
struct DifferencesCase {
  explicit DifferencesCase(const DifferencesShape& shape)
      : shape(shape),
        left(random_values<T>(shape.rows * shape.stride() + 1, 21, 2.0f)),
        right(random_values<T>(shape.rows * shape.stride() + 1, 22, 2.0f)) {}

  SquaredDifferencesArguments<T> arguments(bool with_right, std::vector<double>& sums) const {
    return {.left = left.data(),
            .right = with_right ? right.data() : nullptr,
            .left_stride = shape.stride(),
            .right_stride = with_right ? shape.stride() : 0,
            .rows = shape.rows,
            .groups = shape.groups,
            .columns = shape.columns,
            .parts = nullptr,
            .sums = sums.data()};
  }

  // In double throughout.
  std::vector<double> expected(bool with_right) const {
    std::vector<double> sums(static_cast<size_t>(shape.groups));
    for (int64_t row = 0; row < shape.rows; ++row) {
      for (int64_t column = 0; column < shape.groups * shape.columns; ++column) {
        const auto at = static_cast<size_t>(row * shape.stride() + column);
        const double difference = static_cast<double>(to_float(left[at])) -
                                  (with_right ? static_cast<double>(to_float(right[at])) : 0.0);
        sums[static_cast<size_t>(column / shape.columns)] += difference * difference;
      }
    }
    return sums;
  }

  DifferencesShape shape;
  std::vector<T> left, right;
};

inline void expect_near(const std::vector<double>& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t group = 0; group < found.size(); ++group)
    EXPECT_NEAR(found[group], expected[group], 1e-6 * expected[group]) << "group " << group;
}

}  // namespace kvcalib::kernels
