// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/kv_statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// A binary floating-point type as rounding sees it.
struct Precision {
  int fraction_bits;
  int minimum_exponent;  // of the smallest normal number
  double maximum;
};

constexpr Precision kHalf{10, -14, 65504.0};
constexpr Precision kBrain{7, -126, 0x1.FEp127};

// Rounds to nearest even; infinite beyond the type's largest number.
float round_to(float value, const Precision& precision) {
  if (value == 0.0f || !std::isfinite(value)) return value;
  const int exponent = std::max(std::ilogb(value), precision.minimum_exponent);
  const double step = std::ldexp(1.0, exponent - precision.fraction_bits);
  const double rounded = std::nearbyint(static_cast<double>(value) / step) * step;
  if (std::fabs(rounded) > precision.maximum) {
    return std::copysign(std::numeric_limits<float>::infinity(), value);
  }
  return static_cast<float>(rounded);
}

void round_ranges(KvStatistics& statistics, const KvTensor& tensor, const Precision& precision) {
  auto& [minimum, maximum] = statistics.*tensor.statistics;
  for (size_t i = 0; i < minimum.size(); ++i) {
    const float low = round_to(minimum[i], precision);
    const float high = round_to(maximum[i], precision);
    if (!std::isfinite(low) || !std::isfinite(high) || low > high) {
      const auto [layer, head, channel] = statistics.place(i);
      throw Error(concat("layer ", layer, ", ", tensor.symbol, ", head ", head, ", channel ",
                         channel, ": the range is [", minimum[i], ", ", maximum[i],
                         "], expected finite numbers that the model's 16-bit type can hold; are ",
                         "the weights intact, and was any token seen?"));
    }
    minimum[i] = low;
    maximum[i] = high;
  }
}

}  // namespace

KvStatistics::KvStatistics(int64_t layers, int64_t kv_heads, int64_t head_dim)
    : layers(layers), kv_heads(kv_heads), head_dim(head_dim) {
  const auto size = static_cast<size_t>(layers * kv_heads * head_dim);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const KvTensor& tensor : kKvTensors) {
    TensorStatistics& empty = this->*tensor.statistics;
    empty.minimum.assign(size, kInfinity);
    empty.maximum.assign(size, -kInfinity);
  }
}

ChannelStatistics KvStatistics::part(const KvTensor& tensor, int64_t layer, int64_t rank,
                                     int64_t ranks) const {
  const auto heads = static_cast<size_t>(kv_heads / ranks);
  const auto first = static_cast<size_t>(layer * ranks + rank) * heads;
  const auto width = static_cast<size_t>(head_dim);
  ChannelStatistics part = (this->*tensor.statistics).channels(first * width, heads * width);
  part.histograms = (this->*tensor.histograms).heads(first, heads);
  return part;
}

ChannelPlace KvStatistics::place(size_t index) const {
  const auto channel = static_cast<int64_t>(index);
  return {channel / (kv_heads * head_dim), channel / head_dim % kv_heads, channel % head_dim};
}

KvStatistics KvStatistics::rounded(WeightType type) const {
  const Precision& precision = type == WeightType::kFloat16 ? kHalf : kBrain;
  KvStatistics result = *this;
  for (const KvTensor& tensor : kKvTensors) round_ranges(result, tensor, precision);
  return result;
}

}  // namespace kvcalib
