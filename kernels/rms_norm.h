// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/require.h"
#include "kernels/stream.h"

namespace kvcalib::kernels {

// The arguments of a residual addition followed by a root-mean-square normalisation, per token:
//   sum    = hidden + delta + delta_bias        in fp32
//   hidden = T(sum)                             stored only when there is a delta
//   out    = T(float(hidden) * weight / sqrt(mean(sum^2) + epsilon))
// The squares are of the unrounded sum, as TurboMind has it (llama_decoder_kernels.cu).
template <typename T>
struct RmsNormArguments {
  T* hidden = nullptr;            // [tokens, width], updated in place when there is a delta
  const T* delta = nullptr;       // [tokens, width] or null
  const T* delta_bias = nullptr;  // [width] or null; needs a delta
  const T* weight = nullptr;      // [width]
  T* out = nullptr;               // [tokens, width]
  int64_t tokens = 0;
  int64_t width = 0;
  float epsilon = 0.0f;
  int* nonfinite = nullptr;  // set to 1 when a row's sum of squares is not finite, else left alone

  void check() const {
    require(tokens >= 0 && width > 0, "rms_norm: tokens >= 0 and width > 0");
    require(hidden != nullptr && weight != nullptr && out != nullptr && nonfinite != nullptr,
            "rms_norm: hidden, weight, out and nonfinite are given");
    require(delta_bias == nullptr || delta != nullptr, "rms_norm: delta_bias needs delta");
  }
};

// T: Half, Bfloat16.  Pointers are device memory.  A row's result does not depend on
// the other rows.  Throws std::invalid_argument for inconsistent arguments, CudaError for a launch
// that failed.
template <typename T>
void rms_norm(const RmsNormArguments<T>& arguments, Stream stream);

namespace cpu {

// The same for rows [first_token, last_token); pointers are host memory.
template <typename T>
void rms_norm(const RmsNormArguments<T>& arguments, int64_t first_token, int64_t last_token);

}  // namespace cpu
}  // namespace kvcalib::kernels
