// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/hugging_face_layer.h"

#include <utility>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// Collects a layer's tensors.  Rows that are added are those of the last tensor, from its first on.
class LayerBuilder {
 public:
  LayerBuilder(const ModelConfig& config, const ModelFamily& family, int64_t layer)
      : config_(config), prefix_(concat(family.layers, ".", layer, ".")) {}

  LayerBuilder& weight(std::string_view module, int64_t out, int64_t in) {
    return add(concat(prefix_, module, ".weight"), {out, in});
  }

  // `kind`: ".weight" or ".bias".
  LayerBuilder& vector(std::string_view module, const char* kind, int64_t out) {
    return add(concat(prefix_, module, kind), {out});
  }

  LayerBuilder& rows(LayerTensor tensor, int64_t count, int64_t column = 0, int64_t step = 1) {
    tensors_.back().rows.push_back({tensor, row_, count, column, step});
    row_ += count;
    return *this;
  }

  // Heads that are rotated.
  LayerBuilder& rotated(LayerTensor tensor, int64_t heads, int64_t column) {
    for (int64_t head = 0; head < heads; ++head) {
      const int64_t first = column + head * config_.head_dim;
      rows(tensor, config_.head_dim / 2, first, 2).rows(tensor, config_.head_dim / 2, first + 1, 2);
    }
    return *this;
  }

  std::vector<StoredTensor> take() { return std::move(tensors_); }

 private:
  LayerBuilder& add(std::string name, std::vector<int64_t> shape) {
    tensors_.push_back({std::move(name), std::move(shape), {}});
    row_ = 0;
    return *this;
  }

  const ModelConfig& config_;
  const std::string prefix_;
  std::vector<StoredTensor> tensors_;
  int64_t row_ = 0;
};

// q, k and v, weight or bias; they are the columns q | k | v of the whole tensor.
void add_qkv(LayerBuilder& layer, const ModelConfig& config, const ModelFamily& family, bool bias) {
  const LayerTensor tensor = bias ? LayerTensor::kQkvBias : LayerTensor::kQkv;
  const int64_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
  const auto stored = [&](std::string_view module, int64_t out) -> LayerBuilder& {
    return bias ? layer.vector(module, ".bias", out) : layer.weight(module, out, config.hidden);
  };
  switch (family.qkv_layout) {
    case QkvLayout::kSeparate:
      stored(family.query, q).rotated(tensor, config.heads, 0);
      stored(family.key, kv).rotated(tensor, config.kv_heads, q);
      stored(family.value, kv).rows(tensor, kv, q + kv);
      return;
    case QkvLayout::kConcatenated:
      stored(family.qkv, q + 2 * kv)
          .rotated(tensor, config.heads, 0)
          .rotated(tensor, config.kv_heads, q)
          .rows(tensor, kv, q + kv);
      return;
    case QkvLayout::kGrouped:
      stored(family.qkv, q + 2 * kv);
      for (int64_t group = 0; group < config.kv_heads; ++group) {
        layer.rotated(tensor, config.heads / config.kv_heads, group * (q / config.kv_heads))
            .rotated(tensor, 1, q + group * config.head_dim)
            .rows(tensor, config.head_dim, q + kv + group * config.head_dim);
      }
      return;
  }
}

}  // namespace

std::vector<StoredTensor> stored_tensors(const ModelConfig& config, const ModelFamily& family,
                                         int64_t layer) {
  const int64_t hidden = config.hidden, inner = config.intermediate;
  LayerBuilder builder(config, family, layer);
  builder.vector(family.attention_norm, ".weight", hidden)
      .rows(LayerTensor::kAttentionNorm, hidden);
  add_qkv(builder, config, family, false);
  if (config.attention_bias) add_qkv(builder, config, family, true);
  if (config.query_key_norm) {
    builder.vector(family.query_norm, ".weight", config.head_dim)
        .rotated(LayerTensor::kQueryNorm, 1, 0);
    builder.vector(family.key_norm, ".weight", config.head_dim)
        .rotated(LayerTensor::kKeyNorm, 1, 0);
  }
  builder.weight(family.output, hidden, config.heads * config.head_dim)
      .rows(LayerTensor::kOutput, hidden);
  if (config.attention_bias && !family.qkv_bias)
    builder.vector(family.output, ".bias", hidden).rows(LayerTensor::kOutputBias, hidden);
  builder.vector(family.ffn_norm, ".weight", hidden).rows(LayerTensor::kFfnNorm, hidden);
  builder.weight(family.gate, inner, hidden).rows(LayerTensor::kGateUp, inner, 0);
  builder.weight(family.up, inner, hidden).rows(LayerTensor::kGateUp, inner, inner);
  builder.weight(family.down, hidden, inner).rows(LayerTensor::kDown, hidden);
  if (config.mlp_bias) {
    builder.vector(family.gate, ".bias", inner).rows(LayerTensor::kGateUpBias, inner, 0);
    builder.vector(family.up, ".bias", inner).rows(LayerTensor::kGateUpBias, inner, inner);
    builder.vector(family.down, ".bias", hidden).rows(LayerTensor::kDownBias, hidden);
  }
  return builder.take();
}

}  // namespace kvcalib
