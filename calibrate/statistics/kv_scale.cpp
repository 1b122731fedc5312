// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/kv_scale.h"

#include <algorithm>
#include <cmath>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// Scale and zero of K or V.
struct Step {
  float scale = 1.0f;
  float zero = 0.0f;
};

// -0 would be another byte pattern of the same zero.
float plain_zero(float value) { return value == 0.0f ? 0.0f : value; }

Range range_of(const TensorStatistics& channels, const KvStatistics& statistics, int64_t layer,
               int64_t rank, int64_t ranks, const char* tensor) {
  const auto& [minimum, maximum] = channels;
  const int64_t count = statistics.kv_heads / ranks * statistics.head_dim;
  const int64_t first = (layer * ranks + rank) * count;
  Range range;
  for (int64_t i = first; i < first + count; ++i) {
    const auto at = static_cast<size_t>(i);
    if (!std::isfinite(minimum[at]) || !std::isfinite(maximum[at])) {
      throw Error(concat("layer ", layer, ", rank ", rank, ", ", tensor, ": a channel's range is [",
                         minimum[at], ", ", maximum[at], "], expected finite numbers; calibrate ",
                         "again"));
    }
    range.low = std::min(range.low, minimum[at]);
    range.high = std::max(range.high, maximum[at]);
  }
  return range;
}

Step step_of(const Range& range, ScaleMethod method) {
  Step step;
  if (method == ScaleMethod::kAsymmetric) {
    step.scale = (range.high - range.low) / 255.0f;
    step.zero = plain_zero((range.high + range.low) * 0.5f);
  } else {
    step.scale = std::max(-range.low, range.high) / 127.0f;
    step.zero = 0.0f;
  }
  step.scale = std::max(step.scale, kSmallestScale);
  return step;
}

}  // namespace

Range key_range(const KvStatistics& statistics, int64_t layer, int64_t rank, int64_t ranks) {
  return range_of(statistics.keys, statistics, layer, rank, ranks, "K");
}

Range value_range(const KvStatistics& statistics, int64_t layer, int64_t rank, int64_t ranks) {
  return range_of(statistics.values, statistics, layer, rank, ranks, "V");
}

std::vector<KvScale> compute_scales(const KvStatistics& statistics, int64_t ranks,
                                    ScaleMethod method) {
  if (ranks < 1 || statistics.kv_heads % ranks != 0) {
    throw Error(concat(ranks, " serving ranks: the model has ", statistics.kv_heads,
                       " kv heads, which do not divide among them; choose a divisor of ",
                       statistics.kv_heads));
  }
  std::vector<KvScale> scales;
  for (int64_t layer = 0; layer < statistics.layers; ++layer) {
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const Step key = step_of(key_range(statistics, layer, rank, ranks), method);
      const Step value = step_of(value_range(statistics, layer, rank, ranks), method);
      if (!std::isfinite(key.scale) || !std::isfinite(value.scale)) {
        throw Error(concat("layer ", layer, ", rank ", rank, ": the range of ",
                           std::isfinite(key.scale) ? "V" : "K", " is wider than fp32 can hold; ",
                           "are the weights intact?"));
      }
      scales.push_back({key.scale, key.zero, value.scale, value.zero});
    }
  }
  return scales;
}

}  // namespace kvcalib
