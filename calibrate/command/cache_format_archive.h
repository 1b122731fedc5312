// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/engine/cache_format.h"
#include "sharding/files/byte_archive.h"

// Formats of a cache in messages between ranks.
namespace kvcalib {

template <typename Archive, SameAs<ChannelScales> T>
void members(Archive& archive, T& scales) {
  archive(scales.scale, scales.zero);
}

template <typename Archive, SameAs<CacheFormat> T>
void members(Archive& archive, T& format) {
  archive(format.kind, format.keys, format.values);
}

}  // namespace kvcalib
