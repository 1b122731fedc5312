// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
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
    std::transform(values, values + count, scratch.begin(),
                   [](T value) { return to_float(value); });
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

// flag |= bits, from any number of threads.
inline void raise(int* flag, int bits) {
  std::atomic_ref<int>(*flag).fetch_or(bits, std::memory_order_relaxed);
}

}  // namespace kvcalib::kernels::cpu
