// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/attention.h"

#include <ATen/Parallel.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include "calibrate/engine/single_threaded_gemm.h"

namespace kvcalib {
namespace {

// A window and a kv head at a time, each on one thread, for the same reason as the tiles of
// linear.  The q heads of a group read their K and V with a stride of zero between them:
// nothing is copied.
void cpu_causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& out) {
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
          heads_of(q, group), key, value, /*dropout_p=*/0.0, /*is_causal=*/true));
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

}  // namespace

at::Tensor causal_attention(const at::Tensor& qkv, const QkvShape& shape, int64_t window) {
  const int64_t windows = qkv.size(0) / window;
  const at::Tensor heads = qkv.view({windows, window, -1, shape.head_dim});
  const at::Tensor q = heads.narrow(2, 0, shape.heads);
  const at::Tensor k = heads.narrow(2, shape.heads, shape.kv_heads);
  const at::Tensor v = heads.narrow(2, shape.heads + shape.kv_heads, shape.kv_heads);
  const int64_t width = shape.heads * shape.head_dim;
  if (qkv.is_cpu()) {
    const at::Tensor out = at::empty({windows, window, shape.heads, shape.head_dim}, qkv.options());
    cpu_causal_attention(q, k, v, out);
    return out.view({qkv.size(0), width});
  }
  const at::Tensor attended =
      cuda_causal_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2));
  return attended.transpose(1, 2).reshape({qkv.size(0), width});
}

}  // namespace kvcalib
