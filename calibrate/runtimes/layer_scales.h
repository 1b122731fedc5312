// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/statistics/kv_statistics.h"

namespace kvcalib {

// The largest codes of symmetric caches: a scale is the largest |x| over one of these.
inline constexpr float kLargestInt8 = 127.0f;
inline constexpr float kLargestFloat8 = 448.0f;  // E4M3

// Symmetric scales of a layer: a value is its code times the scale.  As many as have one of their
// own: one, or one for each kv head, channel [kv_heads, head_dim] or serving rank.
struct LayerScales {
  std::vector<float> keys;
  std::vector<float> values;  // none where K and V share `keys`

  bool operator==(const LayerScales&) const = default;
};

// All of these are [layers], and scale = largest |x| / largest_code, one fp32 division, at least
// 2^-24.
using ScaleTable = std::vector<LayerScales>;

ScaleTable scales_by_layer(const KvStatistics& statistics, float largest_code);
ScaleTable scales_by_head(const KvStatistics& statistics, float largest_code);
// K's in the order of a Hugging Face checkpoint: channel j of the first half of a head turns with
// channel j of the second, which statistics have as 2j and 2j + 1.
ScaleTable scales_by_channel(const KvStatistics& statistics, float largest_code);
// One for K and V of each rank, the larger; where ranks outnumber heads, several have the same
// head.  Throws Error where heads neither divide among ranks nor ranks among heads.
ScaleTable shared_scales_by_rank(const KvStatistics& statistics, int64_t ranks, float largest_code);

// A head's values [head_dim] brought from interleaved pairs to halves, or back.
std::vector<float> halves_of_pairs(const std::vector<float>& pairs, int64_t head_dim);
std::vector<float> pairs_of_halves(const std::vector<float>& halves, int64_t head_dim);

}  // namespace kvcalib
