// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

// Nobody can have a GPU to ask about.
[[noreturn]] void fail(const char* function) {
  throw std::logic_error(std::string(function) + ": built without CUDA");
}

}  // namespace

bool built_with_cuda() { return false; }

int64_t gpu_count() { return 0; }

GpuProperties gpu_properties(const c10::Device& /*gpu*/) { fail("gpu_properties"); }

GpuMemory gpu_memory() { fail("gpu_memory"); }

uint64_t peak_gpu_bytes(const c10::Device& /*gpu*/) { fail("peak_gpu_bytes"); }

}  // namespace kvcalib
