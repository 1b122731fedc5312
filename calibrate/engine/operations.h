// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace kvcalib {

// The thin line between tensors and kernels: shapes, types and devices are checked here and nowhere
// below.  All tensors are on one device and of one type (float32 on CPUs; float16 or bfloat16 on
// GPUs) unless said otherwise.

// hidden [tokens, width] += delta + delta_bias (either undefined: nothing); out = hidden normalised
// and scaled by weight [width].  `nonfinite` [1] int32 becomes 1 when a row is not finite.
void rms_norm(const at::Tensor& hidden, const at::Tensor& delta, const at::Tensor& delta_bias,
              const at::Tensor& weight, const at::Tensor& out, double epsilon,
              const at::Tensor& nonfinite);

// By position: cosine and sine [length, head_dim / 2], query_scale [length] or undefined, float32.
struct RotaryTensors {
  at::Tensor cosine, sine, query_scale;
};

// Which columns a row of qkv has: heads q heads (0: none), kv_heads k heads, kv_heads v heads.
struct QkvShape {
  int64_t heads, kv_heads, head_dim;
};

// qkv [tokens, (heads + 2 kv_heads) head_dim] in place: each head of q and of k normalised on its
// own and scaled by query_weight (undefined without q heads) or key_weight, [head_dim].
void head_norm(const at::Tensor& qkv, const at::Tensor& query_weight, const at::Tensor& key_weight,
               const QkvShape& shape, double epsilon);

// The running range of the channels of K or V, float32 [kv_heads, head_dim]; undefined: none.
struct RangeTensors {
  at::Tensor minimum, maximum;
};
struct KvRanges {
  RangeTensors keys, values;
};

// How int8 takes K or V: scale and zero float32 [kv_heads, head_dim], counts int64 [kv_heads, 3], a
// kernels::CodeCount each.  Undefined: it does not.
struct CodeTensors {
  at::Tensor scale, zero, counts;
};
struct KvCodes {
  CodeTensors keys, values;
};

// qkv [tokens, (heads + 2 kv_heads) head_dim] in place: bias (undefined: none) added, q and k
// rotated by their `positions` [tokens] int32 in interleaved pairs.  `ranges` are widened where
// there are any.  Then K and V go through `codes` where there are any, which GPUs alone have, see
// kernels::rotary_makes_codes.  `nonfinite` [1] int32: 1 is set for K, 2 for V.
void rotary_observe(const at::Tensor& qkv, const at::Tensor& bias, const RotaryTensors& rotary,
                    const at::Tensor& positions, const QkvShape& shape, const KvRanges& ranges,
                    const KvCodes& codes, const at::Tensor& nonfinite);

// How far K's rotary pairs reach before they are rotated, of qkv [tokens, (heads + 2 kv_heads)
// head_dim] as rotary_observe left it: widens `reach` float32 [kernels::kReachDirections, kv_heads,
// head_dim / 2], see kernels::PairReachArguments.
void pair_reach(const at::Tensor& qkv, const RotaryTensors& rotary, const at::Tensor& positions,
                const QkvShape& shape, const at::Tensor& reach);

// out [tokens, width] = silu(gate) * up of gate_up [tokens, 2 width].
void swiglu(const at::Tensor& gate_up, const at::Tensor& out);

}  // namespace kvcalib
