// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/nonfinite16.h"
#include "kernels/quantize_dequantize.h"
#include "kernels/rms_norm.h"
#include "kernels/rotary_observe.h"
#include "kernels/swiglu.h"

// The bytes that a call cannot do without: each input read once, each output written once, and what
// is updated in place both.  Not counted: the flag of values that are not finite, which a call on
// finite data never touches.
namespace kvcalib::kernels {

// Read: hidden, weight, and delta and delta_bias where given.  Written: out, and hidden when there
// is a delta.
template <typename T>
int64_t bytes_moved(const RmsNormArguments<T>& arguments) {
  const int64_t matrices = 2 + (arguments.delta != nullptr ? 2 : 0);
  const int64_t rows = 1 + (arguments.delta_bias != nullptr);
  return (matrices * arguments.tokens + rows) * arguments.width * int64_t{sizeof(T)};
}

// Read and written: q, k and the ranges; v is written only with a bias.  Read: the positions, bias,
// cosine, sine and query_scale where given.
template <typename T>
int64_t bytes_moved(const RotaryObserveArguments<T>& arguments) {
  const int64_t channels = arguments.kv_heads * arguments.head_dim;
  const bool biased = arguments.bias != nullptr;
  const int64_t values = channels * (1 + (biased || arguments.codes()));
  const int64_t row = 2 * (arguments.columns() - channels) + values;
  const int64_t elements = arguments.tokens * row + (biased ? arguments.columns() : 0);
  const int64_t angles = arguments.head_dim + (arguments.query_scale != nullptr);
  const int64_t ranges = arguments.observes() ? 2 * 4 * channels : 0;
  return elements * int64_t{sizeof(T)} + arguments.tokens * int64_t{sizeof(int32_t)} +
         (arguments.length * angles + ranges) * int64_t{sizeof(float)};
}

// Read and written: the values.  Read: scale and zero where given.
template <typename T>
int64_t bytes_moved(const QuantizeDequantizeArguments<T>& arguments) {
  const int64_t tables = (arguments.scale != nullptr) + (arguments.zero != nullptr);
  return (2 * arguments.tokens * int64_t{sizeof(T)} + tables * int64_t{sizeof(float)}) *
         arguments.columns();
}

// Read: gate and up.  Written: out.
template <typename T>
int64_t bytes_moved(const SwigluArguments<T>& arguments) {
  return 3 * arguments.tokens * arguments.width * int64_t{sizeof(T)};
}

// Read: all elements.  A plain copy also writes, so this can exceed its rate.
inline int64_t bytes_moved(const Nonfinite16Arguments& arguments) {
  return arguments.count * int64_t{sizeof(uint16_t)};
}

}  // namespace kvcalib::kernels
