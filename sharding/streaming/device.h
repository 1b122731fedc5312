// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Event.h>

#include <cstdint>
#include <optional>
#include <string>

namespace kvcalib {

// What the program asks of GPUs beside computing; a program built without CUDA sees none.

// Whether this program can use GPUs at all.
bool built_with_cuda();
// The GPUs that this process sees.
int64_t gpu_count();

// A GPU as its driver describes it.
struct GpuProperties {
  std::string name;
  int major = 0, minor = 0;  // compute capability
};
GpuProperties gpu_properties(const c10::Device& gpu);

// A GPU's memory, whoever holds it.
struct GpuMemory {
  uint64_t free_bytes = 0;
  uint64_t total_bytes = 0;
};
// Of the GPU that is this thread's current one.  What this process holds of it without using it
// counts as free: it is given back.
GpuMemory gpu_memory();
// What this process took of a GPU's memory at most.
uint64_t peak_gpu_bytes(const c10::Device& gpu);

// Makes it this thread's current one.
void set_gpu(const c10::Device& gpu);
// Waits until it is through with everything that it was given.
void synchronize_gpu(const c10::Device& gpu);

// A point in the work that a GPU's current stream was given.
class GpuEvent {
 public:
  // Only between timed events the time can be told.
  enum class Kind { kOrder, kTimed };

  explicit GpuEvent(Kind kind = Kind::kOrder) : kind_(kind) {}

  // Behind what `gpu` was given on its current stream so far.
  void record(const c10::Device& gpu);
  // Waits until the GPU has come here; not at all where nothing was recorded.
  void synchronize() const;
  // From this event to a later one, when the GPU has passed both.
  double seconds_to(const GpuEvent& later) const;

 private:
  Kind kind_;
  std::optional<c10::Event> event_;  // a program without CUDA can make none
};

}  // namespace kvcalib
