// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "kernels/stream.h"

namespace kvcalib {

// The current one of the tensor's GPU.
inline kernels::Stream current_stream(const at::Tensor& tensor) {
  const c10::impl::VirtualGuardImpl gpu(tensor.device().type());
  return static_cast<kernels::Stream>(gpu.getStream(tensor.device()).native_handle());
}

}  // namespace kvcalib
