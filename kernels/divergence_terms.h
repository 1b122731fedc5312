// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace kvcalib::kernels {

// Below it g(d) = d + exp(-d) - 1 goes by its series, above it by exponentials.
inline constexpr float kSeriesBound = 1.0f;

// g(d) = cosh(d) - 1 - (sinh(d) - d) and g(-d) = cosh(d) - 1 + (sinh(d) - d) by the series of both,
// as far as d^8 and d^9: 5e-7 of the whole at the bound.
struct DivergenceSeries {
  float even, odd;
};

#ifdef __CUDACC__
#define KVCALIB_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define KVCALIB_HOST_DEVICE [[gnu::always_inline]] inline
#endif

KVCALIB_HOST_DEVICE DivergenceSeries divergence_series(float d) {
  const float square = d * d;
  float even = 1.0f / 40320.0f;
  even = even * square + 1.0f / 720.0f;
  even = even * square + 1.0f / 24.0f;
  even = even * square + 0.5f;
  float odd = 1.0f / 362880.0f;
  odd = odd * square + 1.0f / 5040.0f;
  odd = odd * square + 1.0f / 120.0f;
  odd = odd * square + 1.0f / 6.0f;
  return {even * square, odd * square * d};
}

#undef KVCALIB_HOST_DEVICE

}  // namespace kvcalib::kernels
