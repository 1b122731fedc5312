// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/decoder_layer.h"

#include <ATen/ops/empty.h>

#include "calibrate/engine/attention.h"
#include "calibrate/engine/linear.h"

namespace kvcalib {
namespace {

constexpr const char* kTrack = "operations";

// A bias would have to be added before, while rotary_observe adds it after.
void check_norms(const LayerContext& context, const LayerWeights& weights) {
  TORCH_CHECK(!context.config.query_key_norm || !weights.qkv_bias.defined(),
              "decoder_layer: a bias of q and k that are normalised is not supported");
}

}  // namespace

LayerWorkspace::LayerWorkspace(const ModelConfig& config, int64_t tokens,
                               const at::TensorOptions& options)
    : normed(at::empty({tokens, config.hidden}, options)),
      qkv(at::empty({tokens, (config.heads + 2 * config.kv_heads) * config.head_dim}, options)),
      projected(at::empty({tokens, config.hidden}, options)),
      gate_up(at::empty({tokens, 2 * config.intermediate}, options)),
      activated(at::empty({tokens, config.intermediate}, options)) {}

void decoder_layer(const LayerContext& context, const LayerWeights& weights,
                   const at::Tensor& hidden, LayerWorkspace& workspace,
                   const LayerObservation& observation) {
  check_norms(context, weights);
  const ModelConfig& config = context.config;
  const int64_t tokens = hidden.size(0);
  const at::Tensor normed = workspace.normed.narrow(0, 0, tokens);
  const at::Tensor qkv = workspace.qkv.narrow(0, 0, tokens);
  const at::Tensor projected = workspace.projected.narrow(0, 0, tokens);
  const at::Tensor gate_up = workspace.gate_up.narrow(0, 0, tokens);
  const at::Tensor activated = workspace.activated.narrow(0, 0, tokens);
  const QkvShape shape{config.heads, config.kv_heads, config.head_dim};
  const at::Tensor& faults = observation.faults;
  at::Tensor attended;
  const auto step = [&](const char* name, const auto& run) {
    const DeviceSpan span(context.trace, kTrack, name);
    run();
  };

  step("attention norm", [&] {
    rms_norm(hidden, {}, {}, weights.attention_norm, normed, config.norm_eps,
             faults.narrow(0, 0, 1));
  });
  step("qkv GEMM", [&] { linear(normed, weights.qkv, qkv); });
  if (config.query_key_norm)
    step("query and key norm",
         [&] { head_norm(qkv, weights.query_norm, weights.key_norm, shape, config.norm_eps); });
  step("rotary and observer", [&] {
    rotary_observe(qkv, weights.qkv_bias, context.rotary, shape, observation.ranges,
                   faults.narrow(0, 2, 1));
  });
  step("attention",
       [&] { attended = causal_attention(qkv, shape, context.window, config.sliding_window); });
  step("output GEMM", [&] { linear(attended, weights.output, projected); });
  step("residual and ffn norm", [&] {
    rms_norm(hidden, projected, weights.output_bias, weights.ffn_norm, normed, config.norm_eps,
             faults.narrow(0, 1, 1));
  });
  step("gate and up GEMM", [&] { linear(normed, weights.gate_up, gate_up); });
  step("swiglu", [&] { swiglu(gate_up, activated); });
  step("down GEMM", [&] { linear(activated, weights.down, hidden, /*accumulate=*/true); });
}

void observe_keys_and_values(const LayerContext& context, const LayerWeights& weights,
                             const at::Tensor& hidden, LayerWorkspace& workspace,
                             const LayerObservation& observation) {
  check_norms(context, weights);
  const ModelConfig& config = context.config;
  const QkvShape shape{0, config.kv_heads, config.head_dim};
  const int64_t tokens = hidden.size(0);
  const int64_t queries = config.heads * config.head_dim;
  const int64_t columns = 2 * config.kv_heads * config.head_dim;
  const at::Tensor normed = workspace.normed.narrow(0, 0, tokens);
  // The columns of K and V, dense, in the memory of the whole qkv.
  const at::Tensor kv =
      workspace.qkv.view(-1).narrow(0, 0, tokens * columns).view({tokens, columns});
  const at::Tensor bias =
      weights.qkv_bias.defined() ? weights.qkv_bias.narrow(0, queries, columns) : at::Tensor();
  const at::Tensor& faults = observation.faults;

  const DeviceSpan span(context.trace, kTrack, "K and V of the last layer");
  rms_norm(hidden, {}, {}, weights.attention_norm, normed, config.norm_eps, faults.narrow(0, 0, 1));
  linear(normed, weights.qkv.narrow(queries, columns), kv);
  if (config.query_key_norm) head_norm(kv, {}, weights.key_norm, shape, config.norm_eps);
  rotary_observe(kv, bias, context.rotary, shape, observation.ranges, faults.narrow(0, 2, 1));
}

}  // namespace kvcalib
