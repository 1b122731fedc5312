// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/layer_plan.h"

namespace kvcalib {

std::pair<int64_t, int64_t> tensor_shape(const ModelConfig& config, LayerTensor tensor) {
  const int64_t qkv_columns = (config.heads + 2 * config.kv_heads) * config.head_dim;
  switch (tensor) {
    case LayerTensor::kAttentionNorm:
    case LayerTensor::kFfnNorm:
    case LayerTensor::kOutputBias:
    case LayerTensor::kDownBias:
      return {1, config.hidden};
    case LayerTensor::kQkv:
      return {config.hidden, qkv_columns};
    case LayerTensor::kQkvBias:
      return {1, qkv_columns};
    case LayerTensor::kOutput:
      return {config.heads * config.head_dim, config.hidden};
    case LayerTensor::kGateUp:
      return {config.hidden, 2 * config.intermediate};
    case LayerTensor::kDown:
      return {config.intermediate, config.hidden};
    case LayerTensor::kQueryNorm:
    case LayerTensor::kKeyNorm:
      return {1, config.head_dim};
    case LayerTensor::kGateUpBias:
      return {1, 2 * config.intermediate};
  }
  return {0, 0};
}

bool has_tensor(const ModelConfig& config, LayerTensor tensor) {
  switch (tensor) {
    case LayerTensor::kQkvBias:
    case LayerTensor::kOutputBias:
      return config.attention_bias;
    case LayerTensor::kQueryNorm:
    case LayerTensor::kKeyNorm:
      return config.query_key_norm;
    case LayerTensor::kGateUpBias:
    case LayerTensor::kDownBias:
      return config.mlp_bias;
    default:
      return true;
  }
}

}  // namespace kvcalib
