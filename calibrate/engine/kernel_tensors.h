// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "kernels/element_types.h"
#include "kernels/stream.h"

// Tensors as the kernels take them.
namespace kvcalib {

// Null for an undefined tensor.
template <typename T>
T* pointer(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.data_ptr()) : nullptr;
}

// Calls `run` with a value of the kernels' type for the tensor's elements: float on the CPU, a
// 16-bit type on a GPU.
template <typename Run>
void with_kernel_type(const at::Tensor& tensor, const Run& run) {
  const at::ScalarType type = tensor.scalar_type();
  TORCH_CHECK(tensor.is_cpu() ? type == at::kFloat : type == at::kHalf || type == at::kBFloat16,
              "unexpected type ", type, " on ", tensor.device());
  if (type == at::kFloat) return run(float{});
  if (type == at::kHalf) return run(kernels::Half{});
  run(kernels::Bfloat16{});
}

// The current one of the tensor's GPU.
inline kernels::Stream current_stream(const at::Tensor& tensor) {
  const c10::impl::VirtualGuardImpl gpu(tensor.device().type());
  return static_cast<kernels::Stream>(gpu.getStream(tensor.device()).native_handle());
}

}  // namespace kvcalib
