// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace kvcalib::kernels {

// *running = the larger of the two; neither is NaN, and `value` not -0.  Floats order like signed
// integers when they are positive and like reversed unsigned ones when they are negative.
__device__ inline void raise_to(float* running, float value) {
  if (value >= 0.0f) {
    atomicMax(reinterpret_cast<int*>(running), __float_as_int(value));
  } else {
    atomicMin(reinterpret_cast<unsigned*>(running), __float_as_uint(value));
  }
}

// The same for the smaller.
__device__ inline void lower_to(float* running, float value) {
  if (value >= 0.0f) {
    atomicMin(reinterpret_cast<int*>(running), __float_as_int(value));
  } else {
    atomicMax(reinterpret_cast<unsigned*>(running), __float_as_uint(value));
  }
}

}  // namespace kvcalib::kernels
