// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/cache_loops.h"

namespace kvcalib::kernels::cpu {

// The loops over one row that the CPU twins are made of, compiled for one set of instructions.
// Multiply-adds are not fused in them and sums have a fixed order: every set gives the same bits.
struct RowLoops {
  // row += other, row *= factors, row *= factor, elementwise.
  void (*add)(float* row, const float* other, int64_t width);
  void (*multiply)(float* row, const float* factors, int64_t width);
  void (*scale)(float* row, float factor, int64_t width);
  // out = row * weight * factor.
  void (*weigh)(const float* row, const float* weight, float factor, float* out, int64_t width);
  // The sum of squares, in 64 and, for the short rows that heads are, in 16 partial sums.
  float (*squares)(const float* row, int64_t width);
  float (*squares_of_head)(const float* row, int64_t width);
  // out = silu(gate) * up.
  void (*swiglu)(const float* gate, const float* up, float* out, int64_t width);
  // Turns the pairs of neighbours of each head by its angle, of which there are `half`.
  void (*rotate)(float* row, const float* cosine, const float* sine, int64_t heads, int64_t half);
  // Whether a value is NaN or infinite.
  bool (*holds_nonfinite)(const float* row, int64_t width);
  // The same, and widens the ranges.
  bool (*observe)(const float* row, int64_t width, float* minimum, float* maximum);
  // Of rotated K [heads, 2 half]: turns its pairs back by their angles and widens their `reach`
  // [kReachDirections, heads, half].  half: at most 128.
  void (*widen_reach)(const float* keys, const float* cosine, const float* sine, int64_t heads,
                      int64_t half, float* reach);
  // The largest bits without their sign.
  uint16_t (*largest_magnitude)(const uint16_t* bits, int64_t count);
  CacheLoops half_cache, bfloat16_cache, float_cache;
};

// Of floats that stand for a 16-bit type, or for themselves.
inline const CacheLoops& cache_loops(const RowLoops& rows, std::optional<CacheType> type) {
  if (!type) return rows.float_cache;
  return *type == CacheType::kHalf ? rows.half_cache : rows.bfloat16_cache;
}

}  // namespace kvcalib::kernels::cpu
