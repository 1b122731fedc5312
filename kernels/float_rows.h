// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "kernels/numeric.h"

namespace kvcalib::kernels::cpu {

// Rows of T seen as floats by the CPU twins: float rows are used where they lie, 16-bit rows are
// widened into `scratch`.

template <typename T>
const float* as_floats(const T* values, int64_t count, std::vector<float>& scratch) {
  if constexpr (std::is_same_v<T, float>) {
    return values;
  } else {
    scratch.resize(static_cast<size_t>(count));
    std::transform(values, values + count, scratch.begin(), to_float<T>);
    return scratch.data();
  }
}

template <typename T>
float* as_floats(T* values, int64_t count, std::vector<float>& scratch) {
  if constexpr (std::is_same_v<T, float>) {
    return values;
  } else {
    as_floats(static_cast<const T*>(values), count, scratch);
    return scratch.data();
  }
}

// A row of floats to be filled and then stored to `values`, whose present content is not read.
template <typename T>
float* floats_for(T* values, int64_t count, std::vector<float>& scratch) {
  if constexpr (std::is_same_v<T, float>) {
    return values;
  } else {
    scratch.resize(static_cast<size_t>(count));
    return scratch.data();
  }
}

// Rounds a row that as_floats or floats_for gave, and stores it where it came from.
template <typename T>
void store_floats(const float* row, int64_t count, T* values) {
  if constexpr (!std::is_same_v<T, float>) {
    std::transform(row, row + count, values, from_float<T>);
  }
}

// Rounds every element of a row to T, in place.
template <typename T>
void round_row(float* row, int64_t count) {
  if constexpr (!std::is_same_v<T, float>) {
    std::transform(row, row + count, row, rounded<T>);
  }
}

// The sum of squares in kLanes independent partial sums: vectorises, and fixes the order of
// summation for every vector width.  Inlined, so that the caller's KVCALIB_VECTORISED decides that
// width.
template <int64_t kLanes>
__attribute__((always_inline)) inline float sum_of_squares(const float* __restrict__ row,
                                                           int64_t width) {
  std::array<float, kLanes> lanes{};
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t start = 0; start < whole; start += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += row[start + lane] * row[start + lane];
    }
  }
  for (int64_t i = whole; i < width; ++i) lanes[i - whole] += row[i] * row[i];
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

// flag |= bits, from any number of threads.
inline void raise(int* flag, int bits) {
  std::atomic_ref<int>(*flag).fetch_or(bits, std::memory_order_relaxed);
}

}  // namespace kvcalib::kernels::cpu
