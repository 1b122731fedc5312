// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include "calibrate/engine/operations.h"
#include "sharding/formats/model_config.h"
#include "sharding/layer_stream.h"

namespace kvcalib {

// What a layer is observed into.
struct LayerObservation {
  at::Tensor ranges;  // [4, kv_heads, head_dim] float32: minimum and maximum of K, of V
  at::Tensor faults;  // [3] int32, 0 while all is finite: attention norm's input, ffn norm's input,
                      // 1 for K | 2 for V
};

// The intermediate tensors of one micro-batch, allocated once and used by every layer.
class LayerWorkspace {
 public:
  // For up to `tokens` tokens of the given type and device.
  LayerWorkspace(const ModelConfig& config, int64_t tokens, const at::TensorOptions& options);

  at::Tensor normed, qkv, projected, gate_up, activated;  // [tokens, ...]
};

// Runs one decoder layer over whole windows: `hidden` [windows * window, hidden] is replaced by the
// layer's output, K and V are observed as the runtime would cache them (turbomind-format: "Forward
// pass to imitate").
void decoder_layer(const ModelConfig& config, const LayerWeights& weights,
                   const RotaryTensors& rotary, int64_t window, const at::Tensor& hidden,
                   LayerWorkspace& workspace, const LayerObservation& observation);

// Of the last layer only K and V are wanted; `hidden` is left as it is.
void observe_keys_and_values(const ModelConfig& config, const LayerWeights& weights,
                             const RotaryTensors& rotary, int64_t window, const at::Tensor& hidden,
                             LayerWorkspace& workspace, const LayerObservation& observation);

}  // namespace kvcalib
