// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "calibrate/engine/operations.h"

namespace kvcalib {

// Causal attention of every window of `window` tokens on its own.  qkv [windows * window, (heads +
// 2 kv_heads) head_dim], as rotary_observe leaves it; returns [tokens, heads head_dim].  A window's
// bits do not depend on the windows beside it.
at::Tensor causal_attention(const at::Tensor& qkv, const QkvShape& shape, int64_t window);

}  // namespace kvcalib
