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

void widen(std::vector<float>& extremes, const std::vector<float>& others, bool upwards) {
  for (size_t i = 0; i < extremes.size(); ++i) {
    const bool wider = upwards ? others[i] > extremes[i] : others[i] < extremes[i];
    if (wider || std::isnan(others[i])) extremes[i] = others[i];
  }
}

// Rounds the ranges of K or V in place.
void round_ranges(const KvStatistics& shape, const char* tensor, const Precision& precision,
                  TensorStatistics& ranges) {
  auto& [minimum, maximum] = ranges;
  for (size_t i = 0; i < minimum.size(); ++i) {
    const float low = round_to(minimum[i], precision);
    const float high = round_to(maximum[i], precision);
    if (!std::isfinite(low) || !std::isfinite(high) || low > high) {
      const auto channel = static_cast<int64_t>(i);
      throw Error(concat("layer ", channel / (shape.kv_heads * shape.head_dim), ", ", tensor,
                         ", head ", channel / shape.head_dim % shape.kv_heads, ", channel ",
                         channel % shape.head_dim, ": the range is [", minimum[i], ", ", maximum[i],
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
  for (TensorStatistics* const tensor : {&keys, &values}) {
    tensor->minimum.assign(size, kInfinity);
    tensor->maximum.assign(size, -kInfinity);
  }
}

void TensorStatistics::merge(const TensorStatistics& other) {
  widen(minimum, other.minimum, false);
  widen(maximum, other.maximum, true);
}

void KvStatistics::merge(const KvStatistics& other) {
  if (layers != other.layers || kv_heads != other.kv_heads || head_dim != other.head_dim) {
    throw Error(concat("statistics of [", layers, ", ", kv_heads, ", ", head_dim, "] and [",
                       other.layers, ", ", other.kv_heads, ", ", other.head_dim,
                       "] are of different models; merge only ranks of one run"));
  }
  keys.merge(other.keys);
  values.merge(other.values);
}

KvStatistics KvStatistics::rounded(WeightType type) const {
  const Precision& precision = type == WeightType::kFloat16 ? kHalf : kBrain;
  KvStatistics result = *this;
  round_ranges(*this, "K", precision, result.keys);
  round_ranges(*this, "V", precision, result.values);
  return result;
}

}  // namespace kvcalib
