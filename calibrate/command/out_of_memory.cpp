// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/out_of_memory.h"

#include <c10/core/CPUAllocator.h>

namespace kvcalib {
namespace {

constexpr int32_t kCudaMemoryAllocation = 2;  // cudaErrorMemoryAllocation, without CUDA's header

// Torch's CPU allocator, but for the type of what it throws.
class CpuAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    try {
      return torch_->allocate(bytes);
    } catch (const c10::Error& failure) {
      throw c10::OutOfMemoryError(failure.what_without_backtrace());
    }
  }
  c10::DeleterFnPtr raw_deleter() const override { return torch_->raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    torch_->copy_data(to, from, bytes);
  }

 private:
  c10::Allocator* const torch_ = c10::GetDefaultCPUAllocator();
};

}  // namespace

void throw_out_of_memory_on_cpu() {
  static CpuAllocator allocator;
  c10::SetCPUAllocator(&allocator);
}

bool is_out_of_memory(const c10::Error& failure) {
  if (dynamic_cast<const c10::OutOfMemoryError*>(&failure) != nullptr) return true;
  const auto* const of_device = dynamic_cast<const c10::AcceleratorError*>(&failure);
  return of_device != nullptr && of_device->get_error_code() == kCudaMemoryAllocation;
}

}  // namespace kvcalib
