// SPDX-License-Identifier: Apache-2.0
#pragma once

struct CUstream_st;  // CUDA's own name

namespace kvcalib::kernels {

// What CUDA's headers call cudaStream_t.
using Stream = CUstream_st*;

}  // namespace kvcalib::kernels
