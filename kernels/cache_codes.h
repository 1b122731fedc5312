// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kvcalib::kernels {

// What a cache holds in the place of a value; the formulas are QuantizeDequantizeArguments'.
enum class CacheCode : uint8_t { kSixteenBits, kInt8, kInt8OfToken, kFloat8 };

// The 16-bit type that stands for floats.
enum class CacheType : uint8_t { kHalf, kBfloat16 };

// How much of int8's codes some values used.  Sums and extremes of integers: they do not depend on
// the order of the values.
struct CodeCount {
  uint64_t values = 0;   // all, NaN included, which has no code; so has what a scale of 0 leaves
  uint64_t clipped = 0;  // t > 128 or t < -129: more than a step beyond the codes
  int32_t lowest = std::numeric_limits<int32_t>::max();  // codes that were used
  int32_t highest = std::numeric_limits<int32_t>::min();

  void add(const CodeCount& other) {
    values += other.values;
    clipped += other.clipped;
    lowest = std::min(lowest, other.lowest);
    highest = std::max(highest, other.highest);
  }

  friend bool operator==(const CodeCount& left, const CodeCount& right) {
    return left.values == right.values && left.clipped == right.clipped &&
           left.lowest == right.lowest && left.highest == right.highest;
  }
};

// How int8 takes the channels of K or of V, as QuantizeDequantizeArguments has it.
struct Int8Channels {
  const float* scale = nullptr;  // [kv_heads, head_dim]
  const float* zero = nullptr;   // [kv_heads, head_dim]
  CodeCount* counts = nullptr;   // [kv_heads], added to
};

}  // namespace kvcalib::kernels
