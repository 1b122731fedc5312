// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "calibrate/engine/cache_format.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

inline constexpr CacheFormat::Kind kCacheKinds[] = {
    CacheFormat::Kind::kSixteenBits, CacheFormat::Kind::kInt8, CacheFormat::Kind::kInt8OfToken,
    CacheFormat::Kind::kFloat8};

inline ModelConfig small_model(WeightType type = WeightType::kFloat16) {
  ModelConfig config;
  config.layers = 3;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.weight_type = type;
  return config;
}

// Of other scales in every channel, which clip some of normally distributed values.
inline CacheFormat random_format(CacheFormat::Kind kind, const ModelConfig& config) {
  std::mt19937 generator(31);
  std::normal_distribution<float> distribution;
  const float largest_code = kind == CacheFormat::Kind::kFloat8 ? 448.0f : 127.0f;
  const auto scales = [&] {
    ChannelScales made;
    for (int64_t i = 0; i < config.layers * config.kv_heads * config.head_dim; ++i) {
      made.scale.push_back((1 + std::abs(distribution(generator))) / largest_code);
      made.zero.push_back(distribution(generator) / 8);
    }
    if (kind != CacheFormat::Kind::kInt8) made.zero.clear();
    return made;
  };
  const bool has_scales = kind == CacheFormat::Kind::kInt8 || kind == CacheFormat::Kind::kFloat8;
  if (!has_scales) return {kind, {}, {}};
  ChannelScales keys = scales(), values = scales();
  return {kind, std::move(keys), std::move(values)};
}

}  // namespace kvcalib
