// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/require.h"
#include "kernels/stream.h"

namespace kvcalib::kernels {

// The arguments of the normalisation of each head of q and of k on its own (QK-norm), per token,
// before they are rotated:
//   x    = T(x / sqrt(mean(x^2) + epsilon))   in fp32
//   out  = T(x * weight)
// with the two roundings that Hugging Face's models have (modeling_qwen3.py, Qwen3RMSNorm).  A
// head's channels may come in any order that its weight shares.
template <typename T>
struct HeadNormArguments {
  // [tokens, row_stride] in place; a row is heads q heads and kv_heads k heads of head_dim elements
  // each, and then anything.
  T* qkv = nullptr;
  const T* query_weight = nullptr;  // [head_dim], unused without q heads
  const T* key_weight = nullptr;    // [head_dim]
  int64_t tokens = 0;
  int64_t row_stride = 0;
  int64_t heads = 0;  // 0: the rows hold no q
  int64_t kv_heads = 0;
  int64_t head_dim = 0;  // at most 256
  float epsilon = 0.0f;

  int64_t columns() const { return (heads + kv_heads) * head_dim; }

  void check() const {
    require(tokens >= 0 && heads >= 0 && kv_heads > 0,
            "head_norm: tokens >= 0, heads >= 0 and kv_heads > 0");
    require(head_dim > 0 && head_dim <= 256, "head_norm: head_dim is at most 256");
    require(row_stride >= columns(), "head_norm: row_stride covers q and k");
    require(qkv != nullptr && key_weight != nullptr, "head_norm: qkv and key_weight are given");
    require(heads == 0 || query_weight != nullptr, "head_norm: q heads need query_weight");
  }
};

// T: Half, Bfloat16.  Pointers are device memory.  A head's result does not depend on
// the other heads and tokens.  A value that is not finite makes NaN or zeroes of its head.  Throws
// std::invalid_argument for inconsistent arguments, CudaError for a launch that failed.
template <typename T>
void head_norm(const HeadNormArguments<T>& arguments, Stream stream);

namespace cpu {

// The same for tokens [first_token, last_token), up to the order of summation; pointers are host
// memory.
template <typename T>
void head_norm(const HeadNormArguments<T>& arguments, int64_t first_token, int64_t last_token);

}  // namespace cpu
}  // namespace kvcalib::kernels
