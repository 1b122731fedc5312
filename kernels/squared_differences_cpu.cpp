// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <vector>

#include "kernels/float_rows.h"
#include "kernels/squared_differences.h"

namespace kvcalib::kernels::cpu {
namespace {

constexpr int64_t kLanes = 8;  // sums that are independent of each other

// Of columns [0, columns) of left - right; right null: of left.
double squares(const float* left, const float* right, int64_t columns) {
  std::array<float, kLanes> sums{};
  int64_t column = 0;
  for (; column + kLanes <= columns; column += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float difference =
          left[column + lane] - (right == nullptr ? 0.0F : right[column + lane]);
      sums[static_cast<size_t>(lane)] += difference * difference;
    }
  }
  double sum = 0;
  for (const float lane : sums) sum += static_cast<double>(lane);
  for (; column < columns; ++column) {
    const float difference = left[column] - (right == nullptr ? 0.0F : right[column]);
    sum += static_cast<double>(difference * difference);
  }
  return sum;
}

}  // namespace

template <typename T>
void squared_differences(const SquaredDifferencesArguments<T>& arguments, int64_t first_row,
                         int64_t last_row, double* sums) {
  arguments.check();
  const int64_t columns = arguments.columns, width = arguments.groups * columns;
  std::vector<float> left_scratch, right_scratch;
  for (int64_t row = first_row; row < last_row; ++row) {
    const float* const left =
        as_floats(arguments.left + row * arguments.left_stride, width, left_scratch);
    const float* const right =
        arguments.right == nullptr
            ? nullptr
            : as_floats(arguments.right + row * arguments.right_stride, width, right_scratch);
    for (int64_t group = 0; group < arguments.groups; ++group) {
      const int64_t first = group * columns;
      sums[group] += squares(left + first, right == nullptr ? nullptr : right + first, columns);
    }
  }
}

template void squared_differences(const SquaredDifferencesArguments<float>&, int64_t, int64_t,
                                  double*);
template void squared_differences(const SquaredDifferencesArguments<Half>&, int64_t, int64_t,
                                  double*);
template void squared_differences(const SquaredDifferencesArguments<Bfloat16>&, int64_t, int64_t,
                                  double*);

}  // namespace kvcalib::kernels::cpu
