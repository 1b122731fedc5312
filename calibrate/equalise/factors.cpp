// SPDX-License-Identifier: Apache-2.0
#include "calibrate/equalise/factors.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvcalib {
namespace {

// The largest |x| of each `step` neighbouring channels of a layer.
std::vector<float> largest(const ChannelStatistics& channels, size_t step) {
  std::vector<float> ranges(channels.minimum.size() / step, 0.0f);
  for (size_t i = 0; i < channels.minimum.size(); ++i)
    ranges[i / step] = std::max(
        {ranges[i / step], std::fabs(channels.minimum[i]), std::fabs(channels.maximum[i])});
  return ranges;
}

double geometric_mean(std::span<const float> ranges) {
  double sum = 0;
  int64_t count = 0;
  for (const float range : ranges) {
    if (range <= 0.0f) continue;
    sum += std::log(static_cast<double>(range));
    ++count;
  }
  return count == 0 ? 0.0 : std::exp(sum / static_cast<double>(count));
}

constexpr int kUnlimited = std::numeric_limits<int>::max();

// How often `value` can be doubled and stay at or below `most`.
int doublings(float value, float most) {
  if (value <= 0.0f) return kUnlimited;
  const int exponent = std::ilogb(most) - std::ilogb(value);
  return std::ldexp(value, exponent) > most ? exponent - 1 : exponent;
}

template <typename Value, typename Choose>
std::vector<Value> over_heads(std::span<const Value> values, int64_t channels,
                              const Choose& choose) {
  const auto width = static_cast<size_t>(channels);
  std::vector<Value> result(values.begin(), values.end());
  for (size_t i = width; i < values.size(); ++i)
    result[i % width] = choose(result[i % width], values[i]);
  for (size_t i = width; i < values.size(); ++i) result[i] = result[i % width];
  return result;
}

void multiply(std::span<const double> factors, size_t first, size_t step,
              TensorStatistics& ranges) {
  for (size_t i = 0; i < factors.size() * step; ++i) {
    float& minimum = ranges.minimum[first + i];
    float& maximum = ranges.maximum[first + i];
    minimum = static_cast<float>(minimum * factors[i / step]);
    maximum = static_cast<float>(maximum * factors[i / step]);
  }
}

void multiply_reach(std::span<const double> factors, size_t layer, std::vector<float>& reach) {
  const size_t first = layer * factors.size() * kReachDirections;
  for (size_t i = 0; i < factors.size() * kReachDirections; ++i)
    reach[first + i] = static_cast<float>(reach[first + i] * factors[i / kReachDirections]);
}

}  // namespace

LayerRanges ranges_of(const KvStatistics& statistics, int64_t layer) {
  return {largest(statistics.part(kKvTensors[0], layer, 0, 1), 2),
          largest(statistics.part(kKvTensors[1], layer, 0, 1), 1)};
}

std::vector<double> even_factors(std::span<const float> ranges) {
  const double target = geometric_mean(ranges);
  std::vector<double> factors(ranges.size(), 1.0);
  for (size_t i = 0; i < ranges.size(); ++i)
    if (ranges[i] > 0.0f)
      factors[i] = std::clamp(target / ranges[i], 1.0 / kLargestFactor, kLargestFactor);
  return factors;
}

std::vector<int> even_exponents(const ChannelStatistics& statistics, int64_t channels,
                                int64_t together) {
  const auto width = static_cast<size_t>(channels), step = static_cast<size_t>(together);
  std::vector<int> exponents;
  for (size_t first = 0; first < statistics.minimum.size(); first += width) {
    const auto low = statistics.minimum.subspan(first, width);
    const auto high = statistics.maximum.subspan(first, width);
    const float least = -*std::min_element(low.begin(), low.end());
    const float most = *std::max_element(high.begin(), high.end());
    for (size_t i = 0; i < width; i += step) {
      int exponent = kUnlimited;
      for (size_t channel = i; channel < i + step; ++channel)
        exponent =
            std::min({exponent, doublings(-low[channel], least), doublings(high[channel], most)});
      exponents.push_back(exponent == kUnlimited ? 0 : std::min(exponent, kLargestExponent));
    }
  }
  return exponents;
}

std::vector<float> largest_over_heads(std::span<const float> values, int64_t channels) {
  return over_heads(values, channels, [](float a, float b) { return std::max(a, b); });
}

std::vector<int> smallest_over_heads(std::span<const int> values, int64_t channels) {
  return over_heads(values, channels, [](int a, int b) { return std::min(a, b); });
}

KvStatistics multiplied(const KvStatistics& statistics, std::span<const LayerFactors> layers,
                        WeightType type) {
  KvStatistics result = statistics;
  result.key_histograms = result.value_histograms = {};  // of other values
  const auto width = static_cast<size_t>(statistics.kv_heads * statistics.head_dim);
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    multiply(layers[layer].keys, layer * width, 2, result.keys);
    multiply(layers[layer].values, layer * width, 1, result.values);
  }
  for (size_t layer = 0; layer < layers.size(); ++layer)
    if (!result.key_reach.empty()) multiply_reach(layers[layer].keys, layer, result.key_reach);
  return result.rounded(type);
}

}  // namespace kvcalib
