// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/kv_scale.h"

#include <array>
#include <cmath>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// A layer and serving rank.
struct Place {
  int64_t layer, rank, ranks;
};

void check_finite(const KvStatistics& statistics, const KvTensor& tensor, const Place& place) {
  const ChannelStatistics part = statistics.part(tensor, place.layer, place.rank, place.ranks);
  for (size_t i = 0; i < part.minimum.size(); ++i) {
    if (std::isfinite(part.minimum[i]) && std::isfinite(part.maximum[i])) continue;
    throw Error(concat("layer ", place.layer, ", rank ", place.rank, ", ", tensor.symbol,
                       ": a channel's range is [", part.minimum[i], ", ", part.maximum[i],
                       "], expected finite numbers; calibrate again"));
  }
}

KvScale scale_at(const KvStatistics& statistics, const ScaleMethod& method, const Place& place) {
  std::array<TensorScale, kKvTensors.size()> scales;
  for (const KvTensor& tensor : kKvTensors) check_finite(statistics, tensor, place);
  for (size_t i = 0; i < kKvTensors.size(); ++i) {
    scales[i] =
        method.scale_of(statistics.part(kKvTensors[i], place.layer, place.rank, place.ranks));
    if (!std::isfinite(scales[i].scale)) {
      throw Error(concat("layer ", place.layer, ", rank ", place.rank, ": the range of ",
                         kKvTensors[i].symbol, " is wider than fp32 can hold; are the weights ",
                         "intact?"));
    }
  }
  const auto& [key, value] = scales;
  return {key.scale, key.zero, value.scale, value.zero};
}

}  // namespace

std::vector<KvScale> compute_scales(const KvStatistics& statistics, int64_t ranks,
                                    const ScaleMethod& method) {
  if (ranks < 1 || statistics.kv_heads % ranks != 0) {
    throw Error(concat(ranks, " serving ranks: the model has ", statistics.kv_heads,
                       " kv heads, which do not divide among them; choose a divisor of ",
                       statistics.kv_heads));
  }
  std::vector<KvScale> scales;
  for (int64_t layer = 0; layer < statistics.layers; ++layer)
    for (int64_t rank = 0; rank < ranks; ++rank)
      scales.push_back(scale_at(statistics, method, {layer, rank, ranks}));
  return scales;
}

}  // namespace kvcalib
