// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace kvcalib {

// out [tokens, n] = x [tokens, k] weight [k, n], accumulated in float32; `accumulate`: out +=
// instead.  All are of one type and device and may be columns of wider rows.  A row's bits do not
// depend on the rows beside it: on the CPU no tile has rows of two windows of `window` tokens, on a
// GPU the algorithm follows from the weight's shape alone.
void linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out, int64_t window,
            bool accumulate = false);

}  // namespace kvcalib
