// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/require.h"
#include "kernels/stream.h"

namespace kvcalib::kernels {

// The arguments of how far rows lie from others, for groups of their columns:
//   sums[group] = sum over rows and the group's columns of (left - right)^2; without right, left^2
// Differences and their squares are fp32, sums of more than a few of them float64.
template <typename T>
struct SquaredDifferencesArguments {
  static constexpr int64_t kParts = 32;  // of the rows, each summed on its own

  const T* left = nullptr;   // [rows, left_stride]; a row begins with groups of `columns` elements
  const T* right = nullptr;  // [rows, right_stride] likewise, or null
  int64_t left_stride = 0;
  int64_t right_stride = 0;
  int64_t rows = 0;
  int64_t groups = 0;
  int64_t columns = 0;
  double* parts = nullptr;  // scratch of [kParts, groups]; unused on a CPU
  double* sums = nullptr;   // of group g: sums[g * sums_stride]
  int64_t sums_stride = 1;

  void check() const {
    require(rows >= 0 && groups > 0 && columns > 0,
            "squared_differences: rows >= 0, groups > 0 and columns > 0");
    require(
        left_stride >= groups * columns && (right == nullptr || right_stride >= groups * columns),
        "squared_differences: the strides cover the groups");
    require((left != nullptr || rows == 0) && sums != nullptr,
            "squared_differences: left and sums are given");
  }
};

// T: Half, Bfloat16.  Pointers are device memory; the bits do not depend on the device.  Throws
// std::invalid_argument for inconsistent arguments, CudaError for a launch that failed.
template <typename T>
void squared_differences(const SquaredDifferencesArguments<T>& arguments, Stream stream);

namespace cpu {

// The same for rows [first_row, last_row), up to the order of summation, and for float: adds to
// sums[groups], one beside the other.  Pointers are host memory.
template <typename T>
void squared_differences(const SquaredDifferencesArguments<T>& arguments, int64_t first_row,
                         int64_t last_row, double* sums);

}  // namespace cpu
}  // namespace kvcalib::kernels
