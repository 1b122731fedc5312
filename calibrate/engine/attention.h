// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace kvcalib {

// Causal attention of every window on its own.  queries [windows, query_length, heads, head_dim],
// keys and values [windows, key_length, kv_heads, head_dim], of rows with dense heads; returns
// [windows * query_length, heads head_dim].  The queries are those of a window's last keys: others
// may stand before them.  A query sees `sliding_window` keys, its own the last of them; 0: all up
// to its own.  A window's bits do not depend on the windows beside it.
at::Tensor causal_attention(const at::Tensor& queries, const at::Tensor& keys,
                            const at::Tensor& values, int64_t sliding_window = 0);

// Whether some query of a window does not see all keys before it.
inline bool slides(int64_t key_length, int64_t sliding_window) {
  return 0 < sliding_window && sliding_window < key_length;
}

// Bytes that causal_attention holds on the CPU beside its arguments and result.
int64_t attention_scratch_bytes(int64_t query_length, int64_t head_dim);

}  // namespace kvcalib
