// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "calibrate/engine/faults.h"
#include "calibrate/engine/linear.h"
#include "calibrate/engine/operations.h"
#include "sharding/formats/model_config.h"
#include "sharding/formats/rotation.h"
#include "sharding/streaming/layer_source.h"
#include "sharding/streaming/trace.h"

namespace kvcalib {

// What is done with a layer's K and V between their rotation and attention.
struct KvHook {
  using Function = std::function<void(const at::Tensor& queries, const at::Tensor& keys,
                                      const at::Tensor& values)>;

  // Widened by the kernel that rotates, which reads K and V anyway; undefined: none are wanted.
  KvRanges ranges;
  // Called with K and V of a micro-batch, [tokens, kv_heads, head_dim] as the runtime would cache
  // them: what it writes there is what attention reads.  And with the queries that will read them,
  // [tokens, heads, head_dim], which are undefined where a layer has none.  Null: nothing is done.
  Function function;
  // What the kernel that rotates takes K and V through; undefined: nothing.
  KvCodes codes = {};
  // What attends in the place of the block's own causal attention: of the queries and what the hook
  // left of K and V, as `function` gets them, to [tokens, heads head_dim].  Null: the block itself.
  std::function<at::Tensor(const at::Tensor& queries, const at::Tensor& keys,
                           const at::Tensor& values)>
      attend = nullptr;
  // Widened by how far K's rotary pairs reach before they are rotated, see pair_reach; undefined:
  // it is not wanted.
  at::Tensor reach = {};
};

// What all layers of a pass have in common.
struct LayerContext {
  ModelConfig config;
  RotaryTensors rotary;
  Trace* trace = nullptr;
  int64_t gemm_rows = kFullMicroBatch;  // that GPUs choose their algorithms for, see linear
};

// For tokens at positions below `length`.
LayerContext make_layer_context(const ModelConfig& config, const Rotation& rotation, int64_t length,
                                const at::Device& device, Trace* trace);

struct Segments;

// Tokens that run through a layer together: as many of each of some windows, a window after the
// other, or the segments of trees.
struct TokenBlock {
  at::Tensor hidden;     // [windows * length, hidden], the layer's input
  at::Tensor positions;  // int32 [windows * length]
  int64_t length = 0;    // tokens of a window
  // What the windows' tokens attend to beside their own K and V: those of the tokens before, as a
  // hook saw or left them, [windows, any, kv_heads, head_dim].  Undefined where windows begin.
  at::Tensor earlier_keys = {}, earlier_values = {};
  // What the rows are, in the place of windows: `length` is not read, and there is nothing earlier.
  const Segments* segments = nullptr;
  // Whether the workspace holds their q, k and v from a call before, for the same hidden states.
  bool has_qkv = false;
};

// The intermediate tensors of one micro-batch, allocated once and used by every layer.
class LayerWorkspace {
 public:
  // For up to `tokens` tokens of the given type and device.
  LayerWorkspace(const ModelConfig& config, int64_t tokens, const at::TensorOptions& options);

  at::Tensor normed, qkv, projected, gate_up, activated;  // [tokens, ...]
};

// All refuse a bias of q and k where these are normalised: no family has it.

// Runs one decoder layer: the block's hidden states are replaced by the layer's output, the hook
// gets the block's own K and V.
void decoder_layer(const LayerContext& context, const LayerWeights& weights,
                   const TokenBlock& block, LayerWorkspace& workspace, const LayerFaults& faults,
                   const KvHook& hook);

// Only q, K and V, or K and V, where a last layer's output is not wanted; the hidden states are
// left as they are.
void queries_keys_values(const LayerContext& context, const LayerWeights& weights,
                         const TokenBlock& block, LayerWorkspace& workspace,
                         const LayerFaults& faults, const KvHook& hook);
void keys_and_values(const LayerContext& context, const LayerWeights& weights,
                     const TokenBlock& block, LayerWorkspace& workspace, const LayerFaults& faults,
                     const KvHook& hook);

}  // namespace kvcalib
