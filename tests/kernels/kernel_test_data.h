// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/numeric.h"

namespace kvcalib::kernels {

using ElementTypes = ::testing::Types<float, Half, Bfloat16>;

// Normally distributed values as T holds them.
template <typename T>
std::vector<T> random_values(int64_t count, unsigned seed, float deviation = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution(0.0f, deviation);
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = from_float<T>(distribution(generator));
  return values;
}

template <typename T>
std::vector<float> widened(const std::vector<T>& values) {
  std::vector<float> floats;
  for (const T value : values) floats.push_back(to_float(value));
  return floats;
}

// The distance from 1 to the next value of T.
template <typename T>
double unit_roundoff() {
  return std::is_same_v<T, float> ? 0x1p-23 : std::is_same_v<T, Half> ? 0x1p-10 : 0x1p-7;
}

// Equal bit for bit; reports the first difference.  Any NaN equals any other.
template <typename T>
::testing::AssertionResult same_bits(const std::vector<T>& left, const std::vector<T>& right) {
  if (left.size() != right.size()) return ::testing::AssertionFailure() << "sizes differ";
  for (size_t i = 0; i < left.size(); ++i) {
    const float a = to_float(left[i]);
    const float b = to_float(right[i]);
    if (std::memcmp(&a, &b, sizeof(a)) != 0 && !(a != a && b != b)) {
      return ::testing::AssertionFailure() << "element " << i << ": " << a << " and " << b;
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace kvcalib::kernels
