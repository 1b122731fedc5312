// SPDX-License-Identifier: Apache-2.0
#pragma once

// Part of every row_loops_*.cpp, each compiled for other processors; in an unnamed namespace, so
// that the linker cannot take one processor's copy for another's.
#include <bit>

#include "kernels/cache_loops_of_set.h"
#include "kernels/exponential.h"
#include "kernels/pair_reach.h"
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

void widen(const float* __restrict__ values, float sign, int64_t width, float* __restrict__ reach) {
  for (int64_t j = 0; j < width; ++j) {
    const float value = sign * values[j] + 0.0f;  // -0 becomes +0
    reach[j] = value > reach[j] ? value : reach[j];
  }
}

void widen_reach_of_row(const float* __restrict__ keys, const float* __restrict__ cosine,
                        const float* __restrict__ sine, int64_t heads, int64_t half, float* reach) {
  constexpr int64_t kMostPairs = 128;
  constexpr int kQuarter = kReachDirections / 4;
  float first[kMostPairs], second[kMostPairs], sum[kMostPairs], difference[kMostPairs];
  const int64_t pairs = heads * half;
  const auto widen_by = [&](int direction, const float* values, float sign) {
    widen(values, sign, half, reach + direction * pairs);
  };
  for (int64_t head = 0; head < heads; ++head, keys += 2 * half, reach += half) {
    for (int64_t j = 0; j < half; ++j) {
      first[j] = cosine[j] * keys[2 * j] + sine[j] * keys[2 * j + 1];
      second[j] = cosine[j] * keys[2 * j + 1] - sine[j] * keys[2 * j];
    }
    widen_by(0, first, 1.0f);
    widen_by(2 * kQuarter, first, -1.0f);
    widen_by(kQuarter, second, 1.0f);
    widen_by(3 * kQuarter, second, -1.0f);
    for (int i = 1; i < kQuarter; ++i) {
      for (int64_t j = 0; j < half; ++j) {
        const float along = kReachCosines[i] * first[j];
        const float across = kReachCosines[kQuarter - i] * second[j];
        sum[j] = across + along;
        difference[j] = across - along;
      }
      widen_by(i, sum, 1.0f);
      widen_by(2 * kQuarter + i, sum, -1.0f);
      widen_by(2 * kQuarter - i, difference, 1.0f);
      widen_by(4 * kQuarter - i, difference, -1.0f);
    }
  }
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
          .widen_reach = widen_reach_of_row,
          .largest_magnitude = largest_magnitude,
          .half_cache = CacheLoopsOf<HalfRounding>::make(),
          .bfloat16_cache = CacheLoopsOf<Bfloat16Rounding>::make(),
          .float_cache = CacheLoopsOf<NoRounding>::make()};
}

}  // namespace
}  // namespace kvcalib::kernels::cpu
