// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace kvcalib::kernels::cpu {

// out[i] = the float that the 16-bit pattern in[i] stands for (bfloat16, else IEEE half).  Exact;
// a bfloat16 NaN keeps its pattern, a half NaN its sign and payload and becomes quiet.  The two
// arrays must not overlap.
void widen(const uint16_t* in, bool bfloat16, float* out, int64_t count);

}  // namespace kvcalib::kernels::cpu
