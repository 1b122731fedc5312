// SPDX-License-Identifier: Apache-2.0
#include <bit>

#include "kernels/float_rows.h"
#include "kernels/rotary_observe.h"
#include "kernels/vectorised.h"

namespace kvcalib::kernels::cpu {
namespace {

KVCALIB_VECTORISED
void add_row(float* __restrict__ row, const float* __restrict__ bias, int64_t width) {
  for (int64_t i = 0; i < width; ++i) row[i] += bias[i];
}

KVCALIB_VECTORISED
void scale_row(float* row, float factor, int64_t width) {
  for (int64_t i = 0; i < width; ++i) row[i] *= factor;
}

KVCALIB_VECTORISED
void rotate_halves(float* __restrict__ row, const float* __restrict__ cosine,
                   const float* __restrict__ sine, int64_t heads, int64_t half) {
  for (int64_t head = 0; head < heads; ++head, row += 2 * half) {
    for (int64_t j = 0; j < half; ++j) {
      const float low = row[j];
      const float high = row[j + half];
      row[j] = cosine[j] * low - sine[j] * high;
      row[j + half] = cosine[j] * high + sine[j] * low;
    }
  }
}

KVCALIB_VECTORISED
void rotate_neighbours(float* __restrict__ row, const float* __restrict__ cosine,
                       const float* __restrict__ sine, int64_t heads, int64_t half) {
  for (int64_t head = 0; head < heads; ++head, row += 2 * half) {
    for (int64_t j = 0; j < half; ++j) {
      const float even = row[2 * j];
      const float odd = row[2 * j + 1];
      row[2 * j] = cosine[j] * even - sine[j] * odd;
      row[2 * j + 1] = cosine[j] * odd + sine[j] * even;
    }
  }
}

// Widens the ranges; returns whether a value is NaN or infinite.
KVCALIB_VECTORISED
bool observe_row(const float* __restrict__ row, int64_t width, float* __restrict__ minimum,
                 float* __restrict__ maximum) {
  constexpr uint32_t kExponent = 0x7f800000u;
  uint32_t nonfinite = 0;
  for (int64_t i = 0; i < width; ++i) {
    nonfinite |= (std::bit_cast<uint32_t>(row[i]) & kExponent) == kExponent ? 1u : 0u;
    const float value = row[i] + 0.0f;  // -0 becomes +0
    minimum[i] = value < minimum[i] ? value : minimum[i];
    maximum[i] = value > maximum[i] ? value : maximum[i];
  }
  return nonfinite != 0;
}

}  // namespace

template <typename T>
void rotary_observe(const RotaryObserveArguments<T>& arguments, int64_t first_token,
                    int64_t last_token) {
  arguments.check();
  const int64_t half = arguments.head_dim / 2;
  const int64_t query_width = arguments.heads * arguments.head_dim;
  const int64_t key_width = arguments.kv_heads * arguments.head_dim;
  const int64_t rotated_width = query_width + key_width;
  std::vector<float> row_scratch, bias_scratch;
  const float* bias = nullptr;
  if (arguments.bias != nullptr) {
    bias = as_floats(arguments.bias, arguments.columns(), bias_scratch);
  }
  for (int64_t token = first_token; token < last_token; ++token) {
    const int64_t position = token % arguments.length;
    T* const stored = arguments.qkv + token * arguments.row_stride;
    float* const row = as_floats(stored, arguments.columns(), row_scratch);
    if (bias != nullptr) {
      add_row(row, bias, arguments.columns());
      round_row<T>(row, arguments.columns());
    }
    const auto rotate = arguments.interleaved ? rotate_neighbours : rotate_halves;
    rotate(row, arguments.cosine + position * half, arguments.sine + position * half,
           arguments.heads + arguments.kv_heads, half);
    round_row<T>(row, rotated_width);
    if (arguments.query_scale != nullptr) {
      scale_row(row, arguments.query_scale[position], query_width);
      round_row<T>(row, query_width);
    }
    store_floats(row, bias != nullptr ? arguments.columns() : rotated_width, stored);

    if (!arguments.observes()) continue;
    if (observe_row(row + query_width, key_width, arguments.key_minimum, arguments.key_maximum)) {
      raise(arguments.nonfinite, kNonfiniteKey);
    }
    if (observe_row(row + rotated_width, key_width, arguments.value_minimum,
                    arguments.value_maximum)) {
      raise(arguments.nonfinite, kNonfiniteValue);
    }
  }
}

template void rotary_observe(const RotaryObserveArguments<float>&, int64_t, int64_t);
template void rotary_observe(const RotaryObserveArguments<__half>&, int64_t, int64_t);
template void rotary_observe(const RotaryObserveArguments<__nv_bfloat16>&, int64_t, int64_t);

}  // namespace kvcalib::kernels::cpu
