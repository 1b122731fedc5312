// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "calibrate/engine/operations.h"

namespace kvcalib {

// Causal attention of every window of `window` tokens on its own.  qkv [windows * window, (heads +
// 2 kv_heads) head_dim], as rotary_observe leaves it; returns [tokens, heads head_dim].  A query
// sees `sliding_window` keys, its own the last of them; 0: all up to its own.  A window's bits do
// not depend on the windows beside it.
at::Tensor causal_attention(const at::Tensor& qkv, const QkvShape& shape, int64_t window,
                            int64_t sliding_window = 0);

// Whether some query of a window does not see all keys before it.
inline bool slides(int64_t window, int64_t sliding_window) {
  return 0 < sliding_window && sliding_window < window;
}

// Bytes that causal_attention holds on the CPU beside its arguments and result.
int64_t attention_scratch_bytes(int64_t window, int64_t head_dim);

}  // namespace kvcalib
