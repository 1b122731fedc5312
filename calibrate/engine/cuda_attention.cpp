// SPDX-License-Identifier: Apache-2.0
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/empty.h>

#include "calibrate/engine/attention.h"
#include "calibrate/engine/gpu_attention.h"

namespace kvcalib {
namespace {

// cuDNN's kernel is 1.8 times as fast as the flash kernel on Hopper; before, and for shapes that it
// is rarely run with, the flash kernel has fewer conditions.  q, k [windows, heads, length,
// head_dim].
bool prefers_cudnn(const at::Tensor& q, const at::Tensor& k) {
  return at::cuda::getCurrentDeviceProperties()->major >= 9 && q.size(3) % 8 == 0 &&
         q.size(3) <= 128 && q.size(2) >= 64 && q.size(2) == k.size(2);
}

// Kernels are named rather than chosen by Torch: a calibration must repeat.  With fewer queries
// than keys cuDNN's takes the queries for those of the first keys, the flash kernel for those of
// the last ones (torch.nn.attention.bias.CausalVariant.LOWER_RIGHT is made of it).
at::Tensor whole_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (prefers_cudnn(q, k))
    return std::get<0>(at::_scaled_dot_product_cudnn_attention(
        q, k, v, /*attn_bias=*/{}, /*compute_log_sumexp=*/false, /*dropout_p=*/0.0,
        /*is_causal=*/true));
  return std::get<0>(at::_scaled_dot_product_flash_attention(q, k, v, /*dropout_p=*/0.0,
                                                             /*is_causal=*/true));
}

// A window at a time: how the kernel divides the keys among blocks follows from the work of one
// call.
at::Tensor sliding_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             int64_t sliding_window) {
  const at::Tensor out = at::empty(q.sizes(), q.options());
  for (int64_t i = 0; i < q.size(0); ++i) {
    const at::Tensor attended = std::get<0>(at::_flash_attention_forward(
        q.narrow(0, i, 1), k.narrow(0, i, 1), v.narrow(0, i, 1), /*cum_seq_q=*/{},
        /*cum_seq_k=*/{}, q.size(1), k.size(1), /*dropout_p=*/0.0, /*is_causal=*/false,
        /*return_debug_mask=*/false, /*scale=*/std::nullopt,
        /*window_size_left=*/sliding_window - 1, /*window_size_right=*/0));
    out.narrow(0, i, 1).copy_(attended);
  }
  return out;
}

}  // namespace

at::Tensor gpu_causal_attention(const at::Tensor& queries, const at::Tensor& keys,
                                const at::Tensor& values, int64_t sliding_window) {
  const int64_t tokens = queries.size(0) * queries.size(1);
  const int64_t width = queries.size(2) * queries.size(3);
  if (slides(keys.size(1), sliding_window))
    return sliding_attention(queries, keys, values, sliding_window).view({tokens, width});
  const at::Tensor attended =
      whole_attention(queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2));
  return attended.transpose(1, 2).reshape({tokens, width});
}

}  // namespace kvcalib
