// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/decoder_layer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "calibrate/engine/attention.h"
#include "calibrate/engine/rotary_table.h"
#include "calibrate/engine/segment_attention.h"

namespace kvcalib {
namespace {

constexpr const char* kTrack = "operations";

// A bias would have to be added before, while rotary_observe adds it after.
void check_norms(const LayerContext& context, const LayerWeights& weights) {
  TORCH_CHECK(!context.config.query_key_norm || !weights.qkv_bias.defined(),
              "decoder_layer: a bias of q and k that are normalised is not supported");
}

// Heads [first, first + count) of every token.
at::Tensor heads_of(const at::Tensor& qkv, int64_t first, int64_t count, int64_t head_dim) {
  return qkv.view({qkv.size(0), -1, head_dim}).narrow(1, first, count);
}

void call(const KvHook& hook, const at::Tensor& qkv, const QkvShape& shape) {
  if (!hook.function) return;
  const auto heads = [&](int64_t first, int64_t count) {
    return heads_of(qkv, first, count, shape.head_dim);
  };
  hook.function(shape.heads > 0 ? heads(0, shape.heads) : at::Tensor(),
                heads(shape.heads, shape.kv_heads),
                heads(shape.heads + shape.kv_heads, shape.kv_heads));
}

at::Tensor attend(const TokenBlock& block, const KvHook& hook, const at::Tensor& qkv,
                  const QkvShape& shape, int64_t sliding_window) {
  if (hook.attend || block.segments != nullptr) {
    const auto heads = [&](int64_t first, int64_t count) {
      return heads_of(qkv, first, count, shape.head_dim);
    };
    const at::Tensor queries = heads(0, shape.heads), keys = heads(shape.heads, shape.kv_heads);
    const at::Tensor values = heads(shape.heads + shape.kv_heads, shape.kv_heads);
    if (hook.attend) return hook.attend(queries, keys, values);
    TORCH_CHECK(!block.earlier_keys.defined() && block.segments->earlier == 0,
                "decoder_layer: segments have no earlier keys");
    return segment_attention(queries, keys, values, *block.segments, sliding_window);
  }
  const auto windows = [&](int64_t first, int64_t count, const at::Tensor& earlier = {}) {
    const at::Tensor heads = heads_of(qkv, first, count, shape.head_dim);
    const int64_t row = heads.stride(0);  // between tokens, also where a window has but one
    const at::Tensor own =
        heads.as_strided({heads.size(0) / block.length, block.length, count, shape.head_dim},
                         {block.length * row, row, shape.head_dim, 1});
    return earlier.defined() ? at::cat({earlier, own}, 1) : own;
  };
  return causal_attention(
      windows(0, shape.heads), windows(shape.heads, shape.kv_heads, block.earlier_keys),
      windows(shape.heads + shape.kv_heads, shape.kv_heads, block.earlier_values), sliding_window);
}

// Whether attention's output is summed up before it is added to the hidden states: a bias is added
// with it, and on the CPU, which rounds at every few products, sums beside a large hidden state
// would be less exact.  A GPU rounds once, and spares writing and reading it.
bool has_own_sum(const LayerWeights& weights, const at::Tensor& hidden) {
  return hidden.is_cpu() || weights.output_bias.defined();
}

// A block on its way through a layer.
struct Step {
  const LayerContext& context;
  const LayerWeights& weights;
  const TokenBlock& block;
  const LayerWorkspace& workspace;
  const LayerFaults& faults;

  const ModelConfig& config() const { return context.config; }
  QkvShape shape() const { return {config().heads, config().kv_heads, config().head_dim}; }
  at::Tensor qkv() const { return of_block(workspace.qkv); }

  void find_qkv(const KvHook& hook) const {
    const at::Tensor normed = of_block(workspace.normed);
    run("attention norm", [&] {
      rms_norm(block.hidden, {}, {}, weights.attention_norm, normed, config().norm_eps,
               faults.attention_input);
    });
    run("qkv GEMM", [&] { multiply(normed, weights.qkv, qkv()); });
    if (config().query_key_norm)
      run("query and key norm", [&] {
        head_norm(qkv(), weights.query_norm, weights.key_norm, shape(), config().norm_eps);
      });
    run("rotary and observer", [&] {
      rotary_observe(qkv(), weights.qkv_bias, context.rotary, block.positions, shape(), hook.ranges,
                     hook.codes, faults.keys_and_values);
    });
    if (hook.reach.defined())
      run("reach",
          [&] { pair_reach(qkv(), context.rotary, block.positions, shape(), hook.reach); });
  }

  void add_attention(const KvHook& hook) const {
    at::Tensor attended;
    run("attention",
        [&] { attended = attend(block, hook, qkv(), shape(), config().sliding_window); });
    if (!has_own_sum(weights, block.hidden)) {
      run("output GEMM",
          [&] { multiply(attended, weights.output, block.hidden, /*accumulate=*/true); });
      run("ffn norm", [&] { ffn_norm({}); });
      return;
    }
    const at::Tensor projected = of_block(workspace.projected);
    run("output GEMM", [&] { multiply(attended, weights.output, projected); });
    run("residual and ffn norm", [&] { ffn_norm(projected); });
  }

  void add_feed_forward() const {
    const at::Tensor normed = of_block(workspace.normed);
    const at::Tensor gate_up = of_block(workspace.gate_up);
    const at::Tensor activated = of_block(workspace.activated);
    run("gate and up GEMM", [&] { multiply(normed, weights.gate_up, gate_up); });
    if (weights.gate_up_bias.defined())
      run("gate and up bias", [&] { gate_up.add_(weights.gate_up_bias); });
    run("swiglu", [&] { swiglu(gate_up, activated); });
    run("down GEMM", [&] { multiply(activated, weights.down, block.hidden, /*accumulate=*/true); });
    if (weights.down_bias.defined())
      run("down bias", [&] { block.hidden.add_(weights.down_bias); });
  }

 private:
  at::Tensor of_block(const at::Tensor& all) const {
    return all.narrow(0, 0, block.hidden.size(0));
  }
  void multiply(const at::Tensor& x, const WeightMatrix& weight, const at::Tensor& out,
                bool accumulate = false) const {
    linear(x, weight, out, accumulate, context.gemm_rows);
  }
  // `projected`: what attention adds to the hidden states, but for its bias; undefined: is added.
  void ffn_norm(const at::Tensor& projected) const {
    rms_norm(block.hidden, projected, projected.defined() ? weights.output_bias : at::Tensor(),
             weights.ffn_norm, of_block(workspace.normed), config().norm_eps, faults.ffn_input);
  }
  template <typename Run>
  void run(const char* name, const Run& work) const {
    const DeviceSpan span(context.trace, kTrack, name);
    work();
  }
};

at::Tensor to_device(const std::vector<float>& values, at::IntArrayRef shape,
                     const at::Device& device) {
  if (values.empty()) return {};
  return at::from_blob(const_cast<float*>(values.data()), shape, at::kFloat).clone().to(device);
}

}  // namespace

LayerContext make_layer_context(const ModelConfig& config, const Rotation& rotation, int64_t length,
                                const at::Device& device, Trace* trace) {
  const RotaryTable table = make_rotary_table(rotation, length);
  const RotaryTensors rotary = {to_device(table.cosine, {length, config.head_dim / 2}, device),
                                to_device(table.sine, {length, config.head_dim / 2}, device),
                                to_device(rotation.query_scale, {length}, device)};
  return {config, rotary, trace};
}

LayerWorkspace::LayerWorkspace(const ModelConfig& config, int64_t tokens,
                               const at::TensorOptions& options)
    : normed(at::empty({tokens, config.hidden}, options)),
      qkv(at::empty({tokens, (config.heads + 2 * config.kv_heads) * config.head_dim}, options)),
      projected(at::empty({tokens, config.hidden}, options)),
      gate_up(at::empty({tokens, 2 * config.intermediate}, options)),
      activated(at::empty({tokens, config.intermediate}, options)) {}

void decoder_layer(const LayerContext& context, const LayerWeights& weights,
                   const TokenBlock& block, LayerWorkspace& workspace, const LayerFaults& faults,
                   const KvHook& hook) {
  check_norms(context, weights);
  const Step step{context, weights, block, workspace, faults};
  if (!block.has_qkv) step.find_qkv(hook);
  call(hook, step.qkv(), step.shape());
  step.add_attention(hook);
  step.add_feed_forward();
}

void queries_keys_values(const LayerContext& context, const LayerWeights& weights,
                         const TokenBlock& block, LayerWorkspace& workspace,
                         const LayerFaults& faults, const KvHook& hook) {
  check_norms(context, weights);
  const Step step{context, weights, block, workspace, faults};
  step.find_qkv(hook);
  call(hook, step.qkv(), step.shape());
}

void keys_and_values(const LayerContext& context, const LayerWeights& weights,
                     const TokenBlock& block, LayerWorkspace& workspace, const LayerFaults& faults,
                     const KvHook& hook) {
  check_norms(context, weights);
  const ModelConfig& config = context.config;
  const at::Tensor& hidden = block.hidden;
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

  const DeviceSpan span(context.trace, kTrack, "K and V of the last layer");
  rms_norm(hidden, {}, {}, weights.attention_norm, normed, config.norm_eps, faults.attention_input);
  linear(normed, weights.qkv.narrow(queries, columns), kv);
  if (config.query_key_norm) head_norm(kv, {}, weights.key_norm, shape, config.norm_eps);
  rotary_observe(kv, bias, context.rotary, block.positions, shape, hook.ranges, hook.codes,
                 faults.keys_and_values);
  if (hook.reach.defined()) pair_reach(kv, context.rotary, block.positions, shape, hook.reach);
  call(hook, kv, shape);
}

}  // namespace kvcalib
