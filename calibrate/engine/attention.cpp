// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/attention.h"

#include <ATen/Parallel.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <limits>

#include "calibrate/engine/single_threaded_gemm.h"

namespace kvcalib {
namespace {

// [window, window]: 0 where a query (row) sees a key (column), else minus infinity.
at::Tensor make_mask(int64_t window, int64_t sliding_window) {
  const at::Tensor mask = at::full({window, window}, -std::numeric_limits<float>::infinity());
  auto* const values = static_cast<float*>(mask.data_ptr());
  for (int64_t query = 0; query < window; ++query) {
    const int64_t first = std::max<int64_t>(0, query - sliding_window + 1);
    std::fill(values + query * window + first, values + query * window + query + 1, 0.0F);
  }
  return mask;
}

// A window and a kv head at a time, each on one thread, for the same reason as the tiles of
// linear.  The q heads of a group read their K and V with a stride of zero between them:
// nothing is copied.  `mask` undefined: all keys up to the query's own are seen.
void cpu_causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& mask, const at::Tensor& out) {
  const std::optional<at::Tensor> seen = mask.defined() ? std::optional(mask) : std::nullopt;
  const int64_t length = q.size(1);
  const int64_t kv_heads = k.size(2);
  const int64_t group = q.size(2) / kv_heads;
  at::parallel_for(0, q.size(0) * kv_heads, 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode inference;  // thread-local
    const SingleThreadedGemm single_threaded;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t window = task / kv_heads;
      const int64_t head = task % kv_heads;
      const auto heads_of = [&](const at::Tensor& tensor,
                                int64_t count) {  // [1, count, length, head_dim]
        return tensor[window].narrow(1, head * count, count).transpose(0, 1).unsqueeze(0);
      };
      const at::Tensor key = heads_of(k, 1).expand({1, group, length, k.size(3)});
      const at::Tensor value = heads_of(v, 1).expand({1, group, length, v.size(3)});
      const at::Tensor attended = std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(
          heads_of(q, group), key, value, /*dropout_p=*/0.0, /*is_causal=*/true, seen));
      heads_of(out, group).copy_(attended);
    }
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
  const int64_t windows = qkv.size(0) / window;
  const at::Tensor heads = qkv.view({windows, window, -1, shape.head_dim});
  const at::Tensor q = heads.narrow(2, 0, shape.heads);
  const at::Tensor k = heads.narrow(2, shape.heads, shape.kv_heads);
  const at::Tensor v = heads.narrow(2, shape.heads + shape.kv_heads, shape.kv_heads);
  const int64_t width = shape.heads * shape.head_dim;
  const bool is_banded = slides(window, sliding_window);
  if (qkv.is_cpu() || is_banded) {
    const at::Tensor out = at::empty({windows, window, shape.heads, shape.head_dim}, qkv.options());
    if (qkv.is_cpu())
      cpu_causal_attention(q, k, v, is_banded ? make_mask(window, sliding_window) : at::Tensor(),
                           out);
    else
      cuda_sliding_attention(q, k, v, sliding_window, out);
    return out.view({qkv.size(0), width});
  }
  const at::Tensor attended =
      cuda_causal_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2));
  return attended.transpose(1, 2).reshape({qkv.size(0), width});
}

int64_t attention_mask_bytes(int64_t window, int64_t sliding_window) {
  return slides(window, sliding_window) ? window * window * static_cast<int64_t>(sizeof(float)) : 0;
}

}  // namespace kvcalib
