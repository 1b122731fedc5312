// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace kvcalib {

// causal_attention on a GPU.
at::Tensor gpu_causal_attention(const at::Tensor& queries, const at::Tensor& keys,
                                const at::Tensor& values, int64_t sliding_window);

}  // namespace kvcalib
