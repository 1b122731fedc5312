// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cache_blocks.h"
#include "kernels/cache_codes.h"

namespace kvcalib::kernels::cpu {

inline constexpr int64_t kLongestHead = 256;

// What a cache of one 16-bit type, or one that rounds nothing, does to floats, by the formulas of
// quantize_dequantize.h and cache_store.h, compiled for one set of instructions: every set gives
// the same bits.
struct CacheLoops {
  void (*round)(float* values, int64_t width);
  // Counts where `count` is given: then at most kLongestHead values, as of one head.
  void (*int8)(float* values, const float* scale, const float* zero, int64_t width,
               CodeCount* count);
  // One head of one token, of at most kLongestHead values.
  void (*int8_of_token)(float* values, int64_t width, CodeCount* count);
  void (*float8)(float* values, const float* scale, int64_t width);
  // int8, of which codes are kept, of at most kLongestHead values; counts where `count` is given.
  void (*encode)(float* values, const float* scale, const float* zero, int64_t width,
                 CodeRounding rounding, uint8_t* codes, CodeCount* count);
  // What is read back of the codes.
  void (*decode)(const uint8_t* codes, const float* scale, const float* zero, int64_t width,
                 float* values);
};

}  // namespace kvcalib::kernels::cpu
