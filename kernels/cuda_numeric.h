// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "kernels/element_types.h"

namespace kvcalib::kernels {

// The element types on the device; numeric.h has the same for the host.

__device__ inline float to_float(Half value) { return __half2float(__ushort_as_half(value.bits)); }

__device__ inline float to_float(Bfloat16 value) {
  return __bfloat162float(__ushort_as_bfloat16(value.bits));
}

template <typename T>
__device__ inline T from_float(float value) {
  if constexpr (std::is_same_v<T, Half>) {
    return {__half_as_ushort(__float2half_rn(value))};
  } else {
    static_assert(std::is_same_v<T, Bfloat16>);
    return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
  }
}

// The value as T would hold it.
template <typename T>
__device__ inline float rounded(float value) {
  return to_float(from_float<T>(value));
}

}  // namespace kvcalib::kernels
