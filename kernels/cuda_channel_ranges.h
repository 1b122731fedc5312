// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <type_traits>

#include "kernels/cuda_chunk.h"
#include "kernels/cuda_numeric.h"
#include "kernels/cuda_running_maximum.h"

namespace kvcalib::kernels {

// What ranges are computed in: two 16-bit elements at once, or one where a chunk has only one.
template <typename T, int N>
struct LaneOf;
template <int N>
struct LaneOf<Half, N> {
  using Type = std::conditional_t<N == 1, __half, __half2>;
};
template <int N>
struct LaneOf<Bfloat16, N> {
  using Type = std::conditional_t<N == 1, __nv_bfloat16, __nv_bfloat162>;
};

// The smaller and the larger of each element; of a NaN and a number, the number.
template <typename Lane>
__device__ inline Lane smaller(Lane left, Lane right) {
  if constexpr (sizeof(Lane) == 2) {
    return __hmin(left, right);
  } else {
    return __hmin2(left, right);
  }
}

template <typename Lane>
__device__ inline Lane larger(Lane left, Lane right) {
  if constexpr (sizeof(Lane) == 2) {
    return __hmax(left, right);
  } else {
    return __hmax2(left, right);
  }
}

// value * 0 + poison: NaN for good once a value is NaN or infinite.
template <typename Lane>
__device__ inline Lane poisoned(Lane poison, Lane value) {
  if constexpr (sizeof(Lane) == 2) {
    return __hfma(value, Lane(0.0f), poison);
  } else {
    return __hfma2(value, Lane(0.0f, 0.0f), poison);
  }
}

// The range of N neighbouring channels over one thread's tokens, and whether all of it was finite.
template <typename T, int N>
class ChannelRanges {
 public:
  __device__ ChannelRanges() {
    Chunk<T, N> infinity, minus_infinity, zero;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      infinity.values[n] = from_float<T>(INFINITY);
      minus_infinity.values[n] = from_float<T>(-INFINITY);
      zero.values[n] = from_float<T>(0.0f);
    }
    memcpy(minimum_, &infinity, sizeof(minimum_));
    memcpy(maximum_, &minus_infinity, sizeof(maximum_));
    memcpy(&poison_, &zero, sizeof(poison_));
  }

  __device__ void observe(const Chunk<T, N>& chunk) {
    Lane values[kLanes];
    memcpy(values, &chunk, sizeof(values));
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      minimum_[lane] = smaller(minimum_[lane], values[lane]);
      maximum_[lane] = larger(maximum_[lane], values[lane]);
      poison_ = poisoned(poison_, values[lane]);
    }
  }

  // Where the range is not wanted.
  __device__ void watch(const Chunk<T, N>& chunk) {
    Lane values[kLanes];
    memcpy(values, &chunk, sizeof(values));
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) poison_ = poisoned(poison_, values[lane]);
  }

  // Whether no value was NaN or infinite.
  __device__ bool finite() const {
    T parts[sizeof(Lane) / sizeof(T)];
    memcpy(parts, &poison_, sizeof(Lane));
    bool finite = true;
    for (const T part : parts) finite = finite && !isnan(to_float(part));
    return finite;
  }

  // Widens the running range.  What is read beforehand may be stale, hence too narrow, which costs
  // an atomic in vain but loses nothing.
  __device__ void merge(float* running_minimum, float* running_maximum) const {
    float known_minimum[N], known_maximum[N];
#pragma unroll
    for (int n = 0; n < N; ++n) {
      known_minimum[n] = __ldcg(running_minimum + n);
      known_maximum[n] = __ldcg(running_maximum + n);
    }
    Chunk<T, N> minimum, maximum;
    memcpy(&minimum, minimum_, sizeof(minimum_));
    memcpy(&maximum, maximum_, sizeof(maximum_));
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float lowest = __fadd_rn(to_float(minimum.values[n]), 0.0f);  // -0 becomes +0
      const float highest = __fadd_rn(to_float(maximum.values[n]), 0.0f);
      if (lowest < known_minimum[n]) lower_to(running_minimum + n, lowest);
      if (highest > known_maximum[n]) raise_to(running_maximum + n, highest);
    }
  }

 private:
  using Lane = typename LaneOf<T, N>::Type;
  static constexpr int kLanes = N * static_cast<int>(sizeof(T)) / static_cast<int>(sizeof(Lane));

  Lane minimum_[kLanes], maximum_[kLanes], poison_;
};

}  // namespace kvcalib::kernels
