// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "calibrate/statistics/kv_statistics.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// The arithmetic of an even cache.  RoPE turns the two channels of a rotary pair into each other,
// so a factor on both of them stays in front: (a k) . (q / a) = k . q for any rotation.  A channel
// of V meets nothing but its rows of W_o.  So K and V may have any factors that W_q and W_o undo.

// What K and V of one layer are multiplied by; W_q and W_o are by the reciprocals.
struct LayerFactors {
  std::vector<double> keys;    // [kv_heads, head_dim / 2]: of channels 2j and 2j + 1
  std::vector<double> values;  // [kv_heads, head_dim]
};

// The largest |K| of every rotary pair and the largest |V| of every channel; shapes as above.
struct LayerRanges {
  std::vector<float> keys, values;
};
LayerRanges ranges_of(const KvStatistics& statistics, int64_t layer);

// No factor leaves [1 / kLargestFactor, kLargestFactor]: a channel that hardly moves is not blown
// up.
inline constexpr double kLargestFactor = 256.0;
inline constexpr int kLargestExponent = 8;

// target / range, where the target is the geometric mean of the ranges that are not 0: they become
// equal, and what is multiplied by the reciprocals keeps its size in the middle.  1 for a range of
// 0.
std::vector<double> even_factors(std::span<const float> ranges);

// Of channels [heads, channels]: for each `together` neighbours (2 of K, 1 of V) the exponent e >=
// 0 of the largest 2^e by which they stay within their head's range, as it is widened to hold 0. So
// that range stays what it was, no factor is below 1, and no value gets a coarser step than before,
// however heads share a scale and whichever of the exponents are lowered.  0 for ranges of 0.
std::vector<int> even_exponents(const ChannelStatistics& statistics, int64_t channels,
                                int64_t together);

// What heads that share a weight must share: of values [heads, channels], the largest (the
// smallest) of a channel over all heads, for each head.
std::vector<float> largest_over_heads(std::span<const float> values, int64_t channels);
std::vector<int> smallest_over_heads(std::span<const int> values, int64_t channels);

// The statistics behind the factors of each layer, in the type that the cache has: what a
// calibration of the new weights finds, up to their rounding.  Throws Error for a range that the
// type cannot hold.
KvStatistics multiplied(const KvStatistics& statistics, std::span<const LayerFactors> layers,
                        WeightType type);

}  // namespace kvcalib
