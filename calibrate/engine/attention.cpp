// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/attention.h"

#include <ATen/Parallel.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/empty.h>

#include "calibrate/engine/tasks.h"
#include "kernels/instruction_set.h"

namespace kvcalib {
namespace {

void cpu_causal_attention(const at::Tensor& qkv, const QkvShape& shape, int64_t window,
                          int64_t sliding_window, const at::Tensor& out) {
  const kernels::cpu::CausalAttentionArguments all{
      .qkv = qkv.const_data_ptr<float>(),
      .row_stride = qkv.stride(0),
      .out = out.data_ptr<float>(),
      .windows = qkv.size(0) / window,
      .length = window,
      .heads = shape.heads,
      .kv_heads = shape.kv_heads,
      .head_dim = shape.head_dim,
      .sliding_window = sliding_window,
  };
  share_tasks(all.tasks(), [&](TaskQueue& queue) {
    const at::Tensor scratch =
        at::empty({kernels::cpu::attention_scratch(window, shape.head_dim)}, qkv.options());
    kernels::cpu::CausalAttentionArguments own = all;
    own.scratch = scratch.data_ptr<float>();
    while (const std::optional<int64_t> task = queue.next())
      kernels::cpu::causal_attention(own, *task, *task + 1,
                                     kernels::cpu::fastest_instruction_set());
  });
}

// cuDNN's kernel is 1.8 times as fast as the flash kernel on Hopper; before, and for shapes that it
// is rarely run with, the flash kernel has fewer conditions.
bool prefers_cudnn(const at::Tensor& q) {
  return at::cuda::getCurrentDeviceProperties()->major >= 9 && q.size(3) % 8 == 0 &&
         q.size(3) <= 128 && q.size(2) >= 64;
}

// Kernels are named rather than chosen by Torch: a calibration must repeat.  q, k, v [windows,
// heads, window, head_dim].
at::Tensor cuda_causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (prefers_cudnn(q))
    return std::get<0>(at::_scaled_dot_product_cudnn_attention(
        q, k, v, /*attn_bias=*/{}, /*compute_log_sumexp=*/false, /*dropout_p=*/0.0,
        /*is_causal=*/true));
  return std::get<0>(at::_scaled_dot_product_flash_attention(q, k, v, /*dropout_p=*/0.0,
                                                             /*is_causal=*/true));
}

// q, k, v, out [windows, window, heads, head_dim].  A window at a time: how the kernel divides the
// keys among blocks follows from the work of one call.
void cuda_sliding_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            int64_t sliding_window, const at::Tensor& out) {
  const int64_t window = q.size(1);
  for (int64_t i = 0; i < q.size(0); ++i) {
    const at::Tensor attended = std::get<0>(at::_flash_attention_forward(
        q.narrow(0, i, 1), k.narrow(0, i, 1), v.narrow(0, i, 1), /*cum_seq_q=*/{},
        /*cum_seq_k=*/{}, window, window, /*dropout_p=*/0.0, /*is_causal=*/false,
        /*return_debug_mask=*/false, /*scale=*/std::nullopt,
        /*window_size_left=*/sliding_window - 1, /*window_size_right=*/0));
    out.narrow(0, i, 1).copy_(attended);
  }
}

}  // namespace

at::Tensor causal_attention(const at::Tensor& qkv, const QkvShape& shape, int64_t window,
                            int64_t sliding_window) {
  TORCH_CHECK(qkv.stride(1) == 1, "causal_attention: rows must be dense");
  const int64_t windows = qkv.size(0) / window;
  const at::Tensor heads = qkv.view({windows, window, -1, shape.head_dim});
  const at::Tensor q = heads.narrow(2, 0, shape.heads);
  const at::Tensor k = heads.narrow(2, shape.heads, shape.kv_heads);
  const at::Tensor v = heads.narrow(2, shape.heads + shape.kv_heads, shape.kv_heads);
  const int64_t width = shape.heads * shape.head_dim;
  if (qkv.is_cpu() || slides(window, sliding_window)) {
    const at::Tensor out = at::empty({qkv.size(0), width}, qkv.options());
    if (qkv.is_cpu())
      cpu_causal_attention(qkv, shape, window, sliding_window, out);
    else
      cuda_sliding_attention(q, k, v, sliding_window,
                             out.view({windows, window, shape.heads, shape.head_dim}));
    return out;
  }
  const at::Tensor attended =
      cuda_causal_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2));
  return attended.transpose(1, 2).reshape({qkv.size(0), width});
}

int64_t attention_scratch_bytes(int64_t window, int64_t head_dim) {
  return at::get_num_threads() * kernels::cpu::attention_scratch(window, head_dim) *
         static_cast<int64_t>(sizeof(float));
}

}  // namespace kvcalib
