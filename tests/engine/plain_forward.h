// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <functional>
#include <vector>

#include "sharding/formats/layer_plan.h"
#include "sharding/formats/model_config.h"
#include "sharding/formats/rotation.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {

inline std::vector<int32_t> some_ids(int64_t count, int64_t vocab) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(i * i * 7 % vocab));
  return ids;
}

inline Rotation plain_rotation(const ModelConfig& config) {
  return {frequencies_of(config.rope_theta, config.head_dim), 1.0, {}};
}

// A tensor of the fixture's models.
inline at::Tensor whole_tensor(const ModelConfig& config, int64_t layer, LayerTensor tensor) {
  const auto [rows, columns] = tensor_shape(config, tensor);
  const at::Tensor bits = at::empty({rows, columns}, at::kShort);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      bits[i].data_ptr<int16_t>()[j] =
          static_cast<int16_t>(fixture::element_bits(layer, static_cast<int64_t>(tensor), i, j));
  return bits.view(at::kHalf).to(at::kDouble);
}

inline at::Tensor normed(const at::Tensor& x, const at::Tensor& weight) {
  return x / (x.square().mean(-1, true) + 1e-5).sqrt() * weight;
}

inline at::Tensor rotated(const at::Tensor& x) {  // [length, heads, head_dim], interleaved pairs
  const int64_t length = x.size(0), head_dim = x.size(2);
  const at::Tensor exponent =
      at::arange(0, head_dim, 2, at::kDouble) / -static_cast<double>(head_dim);
  const at::Tensor angle = at::outer(at::arange(length, at::kDouble), at::pow(10000.0, exponent));
  const at::Tensor c = angle.cos().unsqueeze(1), s = angle.sin().unsqueeze(1);
  const at::Tensor even = x.slice(2, 0, head_dim, 2), odd = x.slice(2, 1, head_dim, 2);
  return at::stack({c * even - s * odd, c * odd + s * even}, -1).flatten(2);
}

// What a decoder makes of one window.
struct PlainForward {
  std::vector<at::Tensor> keys, values;  // of every layer, [length, kv_heads, head_dim]
  at::Tensor output;                     // of the last layer, [length, hidden]
};

// The decoder written plainly, in double.  Attention reads what `cached` makes of K and V.
inline PlainForward plain_forward(
    const ModelConfig& config, at::Tensor x,
    const std::function<at::Tensor(const at::Tensor&)>& cached = [](const at::Tensor& exact) {
      return exact;
    }) {
  std::vector<at::Tensor> keys, values;
  const int64_t length = x.size(0), d = config.head_dim, group = config.heads / config.kv_heads;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const auto w = [&](LayerTensor tensor) { return whole_tensor(config, layer, tensor); };
    at::Tensor qkv = at::mm(normed(x, w(LayerTensor::kAttentionNorm)), w(LayerTensor::kQkv));
    if (config.attention_bias) qkv = qkv + w(LayerTensor::kQkvBias);
    const at::Tensor parts = qkv.view({length, -1, d});
    at::Tensor q = parts.narrow(1, 0, config.heads);
    at::Tensor k = parts.narrow(1, config.heads, config.kv_heads);
    if (config.query_key_norm) {
      q = normed(q, w(LayerTensor::kQueryNorm));
      k = normed(k, w(LayerTensor::kKeyNorm));
    }
    q = rotated(q);
    k = cached(rotated(k));
    const at::Tensor v = cached(parts.narrow(1, config.heads + config.kv_heads, config.kv_heads));
    keys.push_back(k);
    values.push_back(v);
    const at::Tensor scores = at::einsum("ihd,jhd->hij", {q, k.repeat_interleave(group, 1)}) /
                              std::sqrt(static_cast<double>(d));
    at::Tensor unseen = at::ones({length, length}, at::kBool).triu(1);
    if (config.sliding_window > 0)
      unseen =
          unseen.logical_or(at::ones({length, length}, at::kBool).tril(-config.sliding_window));
    const at::Tensor attended =
        at::einsum("hij,jhd->ihd",
                   {scores.masked_fill(unseen, -1e300).softmax(-1), v.repeat_interleave(group, 1)})
            .reshape({length, -1});
    x = x + at::mm(attended, w(LayerTensor::kOutput));
    if (config.attention_bias) x = x + w(LayerTensor::kOutputBias);
    at::Tensor gate_up = at::mm(normed(x, w(LayerTensor::kFfnNorm)), w(LayerTensor::kGateUp));
    if (config.mlp_bias) gate_up = gate_up + w(LayerTensor::kGateUpBias);
    const at::Tensor gate = gate_up.narrow(1, 0, config.intermediate);
    const at::Tensor up = gate_up.narrow(1, config.intermediate, config.intermediate);
    x = x + at::mm(gate * gate.sigmoid() * up, w(LayerTensor::kDown));
    if (config.mlp_bias) x = x + w(LayerTensor::kDownBias);
  }
  return {keys, values, x};
}

}  // namespace kvcalib
