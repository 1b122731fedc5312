// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cache_codes.h"

namespace kvcalib::kernels::cpu {

// What a cache of one 16-bit type does to floats, by quantize_dequantize.h's formulas, compiled for
// one set of instructions: every set gives the same bits.
struct CacheLoops {
  void (*round)(float* values, int64_t width);
  // Channels that share a count, or none where it is null.
  void (*int8)(float* values, const float* scale, const float* zero, int64_t width,
               CodeCount* count);
  // One head of one token.
  void (*int8_of_token)(float* values, int64_t width, CodeCount* count);
  void (*float8)(float* values, const float* scale, int64_t width);
};

}  // namespace kvcalib::kernels::cpu
