// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "calibrate/statistics/histograms.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// What is known of neighbouring channels of K or of V: a look at a KvStatistics, which outlives it.
struct ChannelStatistics {
  std::span<const float> minimum, maximum;
  HeadHistograms histograms = {};  // of their kv heads, where these are whole and it is known
};

// What is known of every channel of K or of V: the range it took.  Each vector is [layers,
// kv_heads, head_dim] row-major, channels in the order of the weights directory.
struct TensorStatistics {
  std::vector<float> minimum, maximum;

  ChannelStatistics channels(size_t first, size_t count) const {
    return {std::span(minimum).subspan(first, count), std::span(maximum).subspan(first, count), {}};
  }

  bool operator==(const TensorStatistics&) const = default;
};

// A channel's place in the statistics of K or V.
struct ChannelPlace {
  int64_t layer = 0, kv_head = 0, channel = 0;
};

struct KvTensor;

// Directions in which the reach of a rotary pair is known: u(i) = (cos 2 pi i / 32, sin 2 pi i /
// 32).
inline constexpr int64_t kReachDirections = 32;

// The ranges of K and V over all tokens of all windows: what any scale can be made from.
struct KvStatistics {
  KvStatistics() = default;
  // Empty ranges: minimum +inf, maximum -inf.  No reach.
  KvStatistics(int64_t layers, int64_t kv_heads, int64_t head_dim);

  int64_t layers = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  TensorStatistics keys, values;
  // The largest k . u(i) of the rotary pairs k = (channel 2j, channel 2j + 1) of K before they are
  // rotated: what tells the ranges at positions that no window had.  [layers, kv_heads, head_dim /
  // 2, kReachDirections] row-major; empty where it is not known.
  std::vector<float> key_reach;
  // Both or neither, where a calibration was asked for them.
  TensorHistograms key_histograms, value_histograms;

  // The channels of kv heads [rank * kv_heads / ranks, (rank + 1) * kv_heads / ranks) of `layer`.
  ChannelStatistics part(const KvTensor& tensor, int64_t layer, int64_t rank, int64_t ranks) const;

  // Where the channel with that index in a tensor's vectors stands.
  ChannelPlace place(size_t index) const;

  // The ranges as the 16-bit cache would hold them.  Rounding is monotonic, so rounding the
  // extremes equals rounding every value first.  Throws Error naming layer and tensor for a range
  // that is empty or not finite (before or after rounding).
  KvStatistics rounded(WeightType type) const;
};

// K or V: its names and where its statistics stand.  What holds for both runs over kKvTensors.
struct KvTensor {
  const char* symbol;  // in messages
  const char* name;    // in files
  TensorStatistics KvStatistics::*statistics;
  TensorHistograms KvStatistics::*histograms;
};
inline constexpr std::array<KvTensor, 2> kKvTensors = {
    {{"K", "key", &KvStatistics::keys, &KvStatistics::key_histograms},
     {"V", "value", &KvStatistics::values, &KvStatistics::value_histograms}}};

}  // namespace kvcalib
