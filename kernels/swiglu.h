// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/require.h"
#include "kernels/stream.h"

namespace kvcalib::kernels {

// The arguments of the gated activation: out = T(silu(gate) * up) in fp32, per token, with
// silu(x) = x / (1 + exp(-x)).  NaN gives NaN, and so does a gate of minus infinity.
template <typename T>
struct SwigluArguments {
  const T* gate_up = nullptr;  // [tokens, 2 * width]: gate, then up
  T* out = nullptr;            // [tokens, width]
  int64_t tokens = 0;
  int64_t width = 0;

  void check() const {
    require(tokens >= 0 && width > 0, "swiglu: tokens >= 0 and width > 0");
    require(gate_up != nullptr && out != nullptr, "swiglu: gate_up and out are given");
  }
};

// T: Half, Bfloat16.  Pointers are device memory.  Throws std::invalid_argument for
// inconsistent arguments, CudaError for a launch that failed.
template <typename T>
void swiglu(const SwigluArguments<T>& arguments, Stream stream);

namespace cpu {

// The same for tokens [first_token, last_token); pointers are host memory.  Agrees with the GPU to
// a few units in the last place of fp32 (another exponential) before the rounding to T.
template <typename T>
void swiglu(const SwigluArguments<T>& arguments, int64_t first_token, int64_t last_token);

}  // namespace cpu
}  // namespace kvcalib::kernels
