// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "calibrate/engine/cache_format.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// int8 with the same scale and zero for every channel of K and V.
inline CacheFormat even_int8(const ModelConfig& model, float scale, float zero = 0.0f) {
  const auto count = static_cast<size_t>(model.layers * model.kv_heads * model.head_dim);
  const ChannelScales scales{std::vector<float>(count, scale), std::vector<float>(count, zero)};
  return {CacheFormat::Kind::kInt8, scales, scales};
}

}  // namespace kvcalib
