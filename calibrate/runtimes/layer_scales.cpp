// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/layer_scales.h"

#include <algorithm>
#include <cmath>

#include "calibrate/statistics/scale_method.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

float largest(const ChannelStatistics& channels) {
  float found = 0.0f;
  for (const float minimum : channels.minimum) found = std::max(found, std::fabs(minimum));
  for (const float maximum : channels.maximum) found = std::max(found, std::fabs(maximum));
  return found;
}

float to_scale(float largest, float largest_code) {
  return std::max(largest / largest_code, kSmallestScale);
}

// Of one layer, a scale for each `width` neighbouring channels.
std::vector<float> scales_of(const KvStatistics& statistics, const TensorStatistics& tensor,
                             int64_t layer, int64_t width, float largest_code) {
  const int64_t channels = statistics.kv_heads * statistics.head_dim;
  std::vector<float> scales;
  for (int64_t first = 0; first < channels; first += width)
    scales.push_back(to_scale(largest(tensor.channels(static_cast<size_t>(layer * channels + first),
                                                      static_cast<size_t>(width))),
                              largest_code));
  return scales;
}

ScaleTable scales_by_width(const KvStatistics& statistics, int64_t width, float largest_code) {
  ScaleTable table;
  for (int64_t layer = 0; layer < statistics.layers; ++layer)
    table.push_back({scales_of(statistics, statistics.keys, layer, width, largest_code),
                     scales_of(statistics, statistics.values, layer, width, largest_code)});
  return table;
}

}  // namespace

ScaleTable scales_by_layer(const KvStatistics& statistics, float largest_code) {
  return scales_by_width(statistics, statistics.kv_heads * statistics.head_dim, largest_code);
}

ScaleTable scales_by_head(const KvStatistics& statistics, float largest_code) {
  return scales_by_width(statistics, statistics.head_dim, largest_code);
}

ScaleTable scales_by_channel(const KvStatistics& statistics, float largest_code) {
  ScaleTable table = scales_by_width(statistics, 1, largest_code);
  for (LayerScales& layer : table) layer.keys = halves_of_pairs(layer.keys, statistics.head_dim);
  return table;
}

ScaleTable shared_scales_by_rank(const KvStatistics& statistics, int64_t ranks,
                                 float largest_code) {
  const int64_t heads = statistics.kv_heads;
  if (ranks < 1 || (heads % ranks != 0 && ranks % heads != 0))
    throw Error(concat("--serving-tp ", ranks, ": the model has ", heads, " kv heads, expected a ",
                       "divisor or a multiple of that"));
  ScaleTable table;
  for (const LayerScales& layer : scales_by_head(statistics, largest_code)) {
    std::vector<float> shared;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const int64_t first = rank * heads / ranks;
      float scale = 0.0f;
      for (int64_t head = first; head < first + std::max<int64_t>(1, heads / ranks); ++head)
        scale = std::max({scale, layer.keys[static_cast<size_t>(head)],
                          layer.values[static_cast<size_t>(head)]});
      shared.push_back(scale);
    }
    table.push_back({std::move(shared), {}});
  }
  return table;
}

std::vector<float> halves_of_pairs(const std::vector<float>& pairs, int64_t head_dim) {
  std::vector<float> halves(pairs.size());
  const auto width = static_cast<size_t>(head_dim);
  for (size_t i = 0; i < pairs.size(); ++i) {
    const size_t within = i % width;
    halves[i - within + within / 2 + (within % 2) * (width / 2)] = pairs[i];
  }
  return halves;
}

std::vector<float> pairs_of_halves(const std::vector<float>& halves, int64_t head_dim) {
  std::vector<float> pairs(halves.size());
  const auto width = static_cast<size_t>(head_dim);
  for (size_t i = 0; i < halves.size(); ++i) {
    const size_t within = i % width;
    pairs[i] = halves[i - within + within / 2 + (within % 2) * (width / 2)];
  }
  return pairs;
}

}  // namespace kvcalib
