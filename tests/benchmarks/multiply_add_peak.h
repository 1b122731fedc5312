// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace kvcalib::kernels {

// Floating-point operations a second of one thread that only multiplies and adds, all operands in
// registers, with the widest fused vectors that the processor has: what no product can exceed.  0
// where it has none of those known here.
double multiply_add_peak();

}  // namespace kvcalib::kernels
