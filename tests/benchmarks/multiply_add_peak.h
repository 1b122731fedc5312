// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace kvcalib::kernels {

// Floating-point operations a second of one thread that only multiplies and adds, all operands in
// registers, with the widest fused vectors that the processor has, at the clock rate of this
// moment: what a product comes near at best.  0 where it has none of those known here.
double multiply_add_peak();

}  // namespace kvcalib::kernels
