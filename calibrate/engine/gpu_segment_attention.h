// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace kvcalib {

struct Segments;

// segment_attention on a GPU, of segments that are no windows.
at::Tensor gpu_segment_attention(const at::Tensor& queries, const at::Tensor& keys,
                                 const at::Tensor& values, const Segments& segments,
                                 int64_t sliding_window);

}  // namespace kvcalib
