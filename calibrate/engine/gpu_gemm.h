// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

namespace kvcalib {

// out [tokens, n] = x [tokens, k] weight [k, n] on the current stream by cuBLASLt, accumulated in
// float32; `accumulate`: out += instead.  x and weight of float16 or bfloat16, out of the same or
// of float32, to which it then is not rounded; rows may be strided.  The algorithm is the library's
// first choice for this k and n at `chosen_for` rows, among those that do not split k over
// blocks: whatever the number of tokens, a row is summed in one order.
void gpu_gemm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out, bool accumulate,
              int64_t chosen_for);

}  // namespace kvcalib
