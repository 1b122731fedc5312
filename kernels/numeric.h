// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

namespace kvcalib::kernels {

// The three element types T of the operations are float, __half and __nv_bfloat16.  Both
// directions are the same on host and device; from_float rounds to nearest even and overflows to
// infinity, and only the payload of a NaN may differ.

template <typename T>
__host__ __device__ inline float to_float(T value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __half2float(value);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __bfloat162float(value);
  } else {
    static_assert(std::is_same_v<T, float>);
    return value;
  }
}

template <typename T>
__host__ __device__ inline T from_float(float value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(value);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(value);
  } else {
    static_assert(std::is_same_v<T, float>);
    return value;
  }
}

// The value as T would hold it.
template <typename T>
__host__ __device__ inline float rounded(float value) {
  return to_float(from_float<T>(value));
}

inline float round_to_half(float value) { return rounded<__half>(value); }
inline float round_to_bfloat16(float value) { return rounded<__nv_bfloat16>(value); }

}  // namespace kvcalib::kernels
