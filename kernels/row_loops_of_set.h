// SPDX-License-Identifier: Apache-2.0
#pragma once

// Part of every row_loops_*.cpp, each compiled for other processors; in an unnamed namespace, so
// that the linker cannot take one processor's copy for another's.
#include <bit>

#include "kernels/cache_loops_of_set.h"
#include "kernels/exponential.h"
#include "kernels/row_loops.h"

namespace kvcalib::kernels::cpu {
namespace {

void add_row(float* __restrict__ row, const float* __restrict__ other, int64_t width) {
  for (int64_t i = 0; i < width; ++i) row[i] += other[i];
}

void multiply_row(float* __restrict__ row, const float* __restrict__ factors, int64_t width) {
  for (int64_t i = 0; i < width; ++i) row[i] *= factors[i];
}

void scale_row(float* row, float factor, int64_t width) {
  for (int64_t i = 0; i < width; ++i) row[i] *= factor;
}

void weigh_row(const float* __restrict__ row, const float* __restrict__ weight, float factor,
               float* __restrict__ out, int64_t width) {
  for (int64_t i = 0; i < width; ++i) out[i] = row[i] * weight[i] * factor;
}

// In kLanes independent partial sums: vectorises, and fixes the order of summation.
template <int64_t kLanes>
float squares_of_row(const float* __restrict__ row, int64_t width) {
  float lanes[kLanes] = {};
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t start = 0; start < whole; start += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += row[start + lane] * row[start + lane];
    }
  }
  for (int64_t i = whole; i < width; ++i) lanes[i - whole] += row[i] * row[i];
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

void swiglu_row(const float* __restrict__ gate, const float* __restrict__ up,
                float* __restrict__ out, int64_t width) {
  for (int64_t i = 0; i < width; ++i) out[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
}

void rotate_row(float* __restrict__ row, const float* __restrict__ cosine,
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

inline uint32_t nonfinite_bit(float value) {
  constexpr uint32_t kExponent = 0x7f800000u;
  return (std::bit_cast<uint32_t>(value) & kExponent) == kExponent ? 1u : 0u;
}

bool row_holds_nonfinite(const float* row, int64_t width) {
  uint32_t nonfinite = 0;
  for (int64_t i = 0; i < width; ++i) nonfinite |= nonfinite_bit(row[i]);
  return nonfinite != 0;
}

bool observe_row(const float* __restrict__ row, int64_t width, float* __restrict__ minimum,
                 float* __restrict__ maximum) {
  uint32_t nonfinite = 0;
  for (int64_t i = 0; i < width; ++i) {
    nonfinite |= nonfinite_bit(row[i]);
    const float value = row[i] + 0.0f;  // -0 becomes +0
    minimum[i] = value < minimum[i] ? value : minimum[i];
    maximum[i] = value > maximum[i] ? value : maximum[i];
  }
  return nonfinite != 0;
}

uint16_t largest_magnitude(const uint16_t* bits, int64_t count) {
  constexpr uint16_t kSignless = 0x7fff;
  uint16_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto magnitude = static_cast<uint16_t>(bits[i] & kSignless);
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

constexpr RowLoops make_row_loops() {
  return {.add = add_row,
          .multiply = multiply_row,
          .scale = scale_row,
          .weigh = weigh_row,
          .squares = squares_of_row<64>,
          .squares_of_head = squares_of_row<16>,
          .swiglu = swiglu_row,
          .rotate = rotate_row,
          .holds_nonfinite = row_holds_nonfinite,
          .observe = observe_row,
          .largest_magnitude = largest_magnitude,
          .half_cache = CacheLoopsOf<HalfRounding>::make(),
          .bfloat16_cache = CacheLoopsOf<Bfloat16Rounding>::make(),
          .float_cache = CacheLoopsOf<NoRounding>::make()};
}

}  // namespace
}  // namespace kvcalib::kernels::cpu
