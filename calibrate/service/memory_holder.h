// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "calibrate/runtimes/turbomind/serving_allocations.h"

namespace kvcalib {

// A GPU's memory by the driver's figures, whoever holds it.
struct CardMemory {
  uint64_t used_bytes = 0;
  uint64_t total_bytes = 0;

  uint64_t free_bytes() const { return total_bytes - used_bytes; }
};

// A GPU whose memory is taken as a rank in service takes it.  As long as there is one, this process
// has a CUDA context there, a cuBLAS handle and its workspace.
class MemoryHolder {
 public:
  virtual ~MemoryHolder() = default;

  virtual std::string name() const = 0;  // "NVIDIA H100 80GB HBM3"
  // What context, handle and workspace took; nothing where the driver's management library, which
  // alone can tell it beside the memory of other processes, is not there.
  virtual std::optional<uint64_t> context_bytes() const = 0;

  // When all that was asked for is done.  Throws for what CUDA refuses, as those below.
  virtual CardMemory memory() = 0;
  // Takes memory and writes to all of it.  False: there is not so much left.
  virtual bool hold(uint64_t bytes, Taking taking) = 0;
  // Gives back all that is held, also what a pool would keep.
  virtual void release() = 0;

 protected:
  MemoryHolder() = default;
  MemoryHolder(const MemoryHolder&) = default;
  MemoryHolder& operator=(const MemoryHolder&) = default;
};

// A GPU by its number among those that this process sees.  Throws Error where it has no pools of
// memory; kernels::CudaError, or Error naming the call, for what CUDA or cuBLAS refuses.
std::unique_ptr<MemoryHolder> open_memory_holder(int gpu);

}  // namespace kvcalib
