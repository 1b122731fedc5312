// SPDX-License-Identifier: Apache-2.0
#include "calibrate/service/driver_memory.h"

#include <dlfcn.h>

namespace kvcalib {
namespace {

constexpr int kSuccess = 0;  // NVML_SUCCESS

// nvml.h, which a machine that builds need not have.
struct NvmlMemory {
  unsigned long long total, free, used;
};
using NvmlDevice = void*;

// The library, loaded and ready.
class Nvml {
 public:
  Nvml() : library_(dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) return;
    const auto start = find<int()>("nvmlInit_v2");
    stop_ = find<int()>("nvmlShutdown");
    device_ = find<int(const char*, NvmlDevice*)>("nvmlDeviceGetHandleByPciBusId_v2");
    memory_ = find<int(NvmlDevice, NvmlMemory*)>("nvmlDeviceGetMemoryInfo");
    ready_ = start != nullptr && stop_ != nullptr && device_ != nullptr && memory_ != nullptr &&
             start() == kSuccess;
  }
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;
  ~Nvml() {
    if (ready_) stop_();
    if (library_ != nullptr) dlclose(library_);
  }

  std::optional<uint64_t> free_bytes(const std::string& bus) const {
    NvmlDevice device = nullptr;
    NvmlMemory memory{};
    if (!ready_ || device_(bus.c_str(), &device) != kSuccess ||
        memory_(device, &memory) != kSuccess)
      return std::nullopt;
    return memory.free;
  }

 private:
  template <typename Function>
  Function* find(const char* name) const {
    return reinterpret_cast<Function*>(dlsym(library_, name));
  }

  void* library_;
  int (*stop_)() = nullptr;
  int (*device_)(const char*, NvmlDevice*) = nullptr;
  int (*memory_)(NvmlDevice, NvmlMemory*) = nullptr;
  bool ready_ = false;
};

}  // namespace

std::optional<uint64_t> driver_free_bytes(const std::string& bus) { return Nvml().free_bytes(bus); }

}  // namespace kvcalib
