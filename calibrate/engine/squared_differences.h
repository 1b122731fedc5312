// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

namespace kvcalib {

// sums [groups] float64 = of every group of columns of left - right [rows, groups * any] the sum of
// squares; right undefined: of left.  Rows are dense, sums may lie apart.  The bits do not depend
// on threads.
void squared_differences(const at::Tensor& left, const at::Tensor& right, const at::Tensor& sums);

}  // namespace kvcalib
