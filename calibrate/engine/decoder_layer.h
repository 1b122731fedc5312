// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include "calibrate/engine/observations.h"
#include "calibrate/engine/operations.h"
#include "sharding/formats/model_config.h"
#include "sharding/streaming/layer_stream.h"
#include "sharding/streaming/trace.h"

namespace kvcalib {

// What all layers of a pass have in common.
struct LayerContext {
  ModelConfig config;
  RotaryTensors rotary;
  int64_t window = 0;  // tokens
  Trace* trace = nullptr;
};

// The intermediate tensors of one micro-batch, allocated once and used by every layer.
class LayerWorkspace {
 public:
  // For up to `tokens` tokens of the given type and device.
  LayerWorkspace(const ModelConfig& config, int64_t tokens, const at::TensorOptions& options);

  at::Tensor normed, qkv, projected, gate_up, activated;  // [tokens, ...]
};

// Both refuse a bias of q and k where these are normalised: no family has it.

// Runs one decoder layer over whole windows: `hidden` [windows * window, hidden] is replaced by the
// layer's output, K and V are observed as the runtime would cache them (turbomind-format: "Forward
// pass to imitate").
void decoder_layer(const LayerContext& context, const LayerWeights& weights,
                   const at::Tensor& hidden, LayerWorkspace& workspace,
                   const LayerObservation& observation);

// Of the last layer only K and V are wanted; `hidden` is left as it is.
void observe_keys_and_values(const LayerContext& context, const LayerWeights& weights,
                             const at::Tensor& hidden, LayerWorkspace& workspace,
                             const LayerObservation& observation);

}  // namespace kvcalib
