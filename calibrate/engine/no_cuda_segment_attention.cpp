// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/gpu_segment_attention.h"

namespace kvcalib {

at::Tensor gpu_segment_attention(const at::Tensor& /*queries*/, const at::Tensor& /*keys*/,
                                 const at::Tensor& /*values*/, const Segments& /*segments*/,
                                 int64_t /*sliding_window*/) {
  TORCH_CHECK(false, "attention on a GPU, built without CUDA");
}

}  // namespace kvcalib
