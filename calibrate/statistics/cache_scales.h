// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "calibrate/statistics/channel_scales.h"
#include "calibrate/statistics/kv_scale.h"
#include "calibrate/statistics/kv_statistics.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// The scales of caches that share one among ranks, heads or channels, spread over the channels that
// share it.
struct CacheScales {
  ChannelScales keys, values;
};

// `scales` [layers, ranks], as they are delivered: kv head h is rank h * ranks / kv_heads's. Throws
// Error where they are not of so many layers and ranks, or kv_heads does not divide by `ranks`.
CacheScales scales_of_ranks(std::span<const KvScale> scales, int64_t ranks,
                            const ModelConfig& config);

// int8, each head or each channel on its own: ScaleMethod::kAsymmetric of its channels' ranges.
// The three throw Error naming layer, head and channel for a range that is not finite, or wider
// than fp32 can say.
CacheScales scales_of_heads(const KvStatistics& statistics);
CacheScales scales_of_channels(const KvStatistics& statistics);

// E4M3, each layer's K and V on their own: largest |x| / 448, at least 2^-24; without zeros.
CacheScales float8_scales(const KvStatistics& statistics);

}  // namespace kvcalib
