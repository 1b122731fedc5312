// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/cache_scales.h"

#include <algorithm>
#include <cmath>

#include "calibrate/statistics/scale_method.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

void append(const TensorScale& scale, int64_t channels, ChannelScales& scales) {
  const auto count = static_cast<size_t>(channels);
  scales.scale.insert(scales.scale.end(), count, scale.scale);
  scales.zero.insert(scales.zero.end(), count, scale.zero);
}

// What messages call a group's first channel.
std::string place_text(const KvStatistics& statistics, const KvTensor& tensor, size_t index) {
  const auto [layer, head, channel] = statistics.place(index);
  return concat("layer ", layer, ", ", tensor.symbol, ", head ", head, ", channel ", channel);
}

void check_finite(const KvStatistics& statistics, const KvTensor& tensor) {
  const auto& [minimum, maximum] = statistics.*tensor.statistics;
  for (size_t i = 0; i < minimum.size(); ++i)
    if (!std::isfinite(minimum[i]) || !std::isfinite(maximum[i]))
      throw Error(concat(place_text(statistics, tensor, i), ": the range is [", minimum[i], ", ",
                         maximum[i], "], expected finite numbers; calibrate again"));
}

// Of K or V, whose channels share a scale in groups of so many.
template <typename ScaleOf>
ChannelScales scales_of_groups(const KvStatistics& statistics, const KvTensor& tensor,
                               int64_t channels, const ScaleOf& scale_of) {
  check_finite(statistics, tensor);
  const TensorStatistics& ranges = statistics.*tensor.statistics;
  const auto group = static_cast<size_t>(channels);
  ChannelScales scales;
  for (size_t first = 0; first < ranges.minimum.size(); first += group) {
    const TensorScale scale = scale_of(ranges.channels(first, group));
    if (!std::isfinite(scale.scale) || !std::isfinite(scale.zero))
      throw Error(concat(place_text(statistics, tensor, first),
                         ": the range is wider than fp32 can hold; are the weights intact?"));
    append(scale, channels, scales);
  }
  return scales;
}

template <typename ScaleOf>
CacheScales scales_of_groups(const KvStatistics& statistics, int64_t channels,
                             const ScaleOf& scale_of) {
  return {scales_of_groups(statistics, kKvTensors[0], channels, scale_of),
          scales_of_groups(statistics, kKvTensors[1], channels, scale_of)};
}

TensorScale asymmetric(const ChannelStatistics& channels) {
  return ScaleMethod::kAsymmetric.scale_of(channels);
}

TensorScale float8(const ChannelStatistics& channels) {
  constexpr float kLargest = 448.0f;
  float largest = 0.0f;
  for (const float minimum : channels.minimum) largest = std::max(largest, std::fabs(minimum));
  for (const float maximum : channels.maximum) largest = std::max(largest, std::fabs(maximum));
  return {std::max(largest / kLargest, kSmallestScale), 0.0f};
}

}  // namespace

CacheScales scales_of_ranks(std::span<const KvScale> scales, int64_t ranks,
                            const ModelConfig& config) {
  if (ranks < 1 || config.kv_heads % ranks != 0)
    throw Error(concat(ranks, " serving ranks: the model has ", config.kv_heads,
                       " kv heads, which do not divide among them; choose a divisor of ",
                       config.kv_heads));
  if (static_cast<int64_t>(scales.size()) != config.layers * ranks)
    throw Error(concat(scales.size(), " scales of layers and ranks, expected ", config.layers,
                       " layers times ", ranks, " ranks; calibrate for this model"));
  const int64_t channels = config.kv_heads / ranks * config.head_dim;
  CacheScales result;
  for (const KvScale& scale : scales) {
    append(scale.key(), channels, result.keys);
    append(scale.value(), channels, result.values);
  }
  return result;
}

CacheScales scales_of_heads(const KvStatistics& statistics) {
  return scales_of_groups(statistics, statistics.head_dim, asymmetric);
}

CacheScales scales_of_channels(const KvStatistics& statistics) {
  return scales_of_groups(statistics, 1, asymmetric);
}

CacheScales float8_scales(const KvStatistics& statistics) {
  CacheScales scales =
      scales_of_groups(statistics, statistics.kv_heads * statistics.head_dim, float8);
  scales.keys.zero.clear();
  scales.values.zero.clear();
  return scales;
}

}  // namespace kvcalib
