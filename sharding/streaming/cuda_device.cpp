// SPDX-License-Identifier: Apache-2.0
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>

#include "kernels/cuda_check.h"
#include "sharding/streaming/device.h"

namespace kvcalib {

bool built_with_cuda() { return true; }

int64_t gpu_count() { return c10::cuda::device_count(); }

GpuProperties gpu_properties(const c10::Device& gpu) {
  const cudaDeviceProp* const properties = at::cuda::getDeviceProperties(gpu.index());
  return {properties->name, properties->major, properties->minor};
}

GpuMemory gpu_memory() {
  if (c10::cuda::CUDACachingAllocator::get()->initialized())
    c10::cuda::CUDACachingAllocator::emptyCache();
  size_t free_bytes = 0, total_bytes = 0;
  CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
  return {free_bytes, total_bytes};
}

uint64_t peak_gpu_bytes(const c10::Device& gpu) {
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(gpu.index());
  return static_cast<uint64_t>(stats.reserved_bytes[0].peak);
}

}  // namespace kvcalib
