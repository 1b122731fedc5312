// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/gpu_attention.h"

namespace kvcalib {

at::Tensor gpu_causal_attention(const at::Tensor& /*queries*/, const at::Tensor& /*keys*/,
                                const at::Tensor& /*values*/, int64_t /*sliding_window*/) {
  TORCH_CHECK(false, "attention on a GPU, built without CUDA");
}

}  // namespace kvcalib
