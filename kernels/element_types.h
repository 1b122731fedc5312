// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace kvcalib::kernels {

// The 16-bit element types of the kernels, which are templates of T = Half or Bfloat16, their CPU
// twins of float as well.  In memory they are CUDA's __half and __nv_bfloat16, whose headers a
// build without CUDA does not have.

struct Half {
  uint16_t bits;
};

struct Bfloat16 {
  uint16_t bits;
};

}  // namespace kvcalib::kernels
