// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "calibrate/command/host_memory.h"
#include "calibrate/engine/pass_plan.h"
#include "sharding/ranks/communicator.h"
#include "sharding/ranks/rendezvous.h"
#include "sharding/streaming/trace.h"

namespace kvcalib {

// Where there is too little memory, what needs less.
inline constexpr const char* kCalibrationWaysOut =
    "use a smaller --micro-batch, more GPUs or fewer --samples";

// Where and how a rank computes.
struct RankWork {
  Rank rank;
  c10::Device device = c10::kCPU;
  int64_t micro_batch_tokens = 0;  // as PassSettings has it
  Trace* trace = nullptr;
};

// A rank that has joined the others.
struct RankRun {
  std::unique_ptr<Communicator> communicator;
  PassSettings settings;
};

// Joins the other ranks and makes the device this thread's own.  The rendezvous outlives the run.
RankRun join_ranks(const RankWork& work, Rendezvous& rendezvous);

// Throws Error as check_memory does when a plan does not fit into what is free of this thread's
// GPU; of a CPU's memory see check_host_memory.
void check_device_memory(const MemoryPlan& plan, const c10::Device& device,
                         const char* ways_out = kCalibrationWaysOut);

// Throws Error when a plan does not fit into the free bytes of a device, saying what is needed,
// what there is, and the way out.
void check_memory(const MemoryPlan& plan, const std::string& device, uint64_t free_bytes,
                  uint64_t total_bytes, const char* ways_out = kCalibrationWaysOut);

// The same for what the ranks of one machine need of its memory together.
void check_host_memory(const HostMemoryPlan& plan, const HostMemory& memory);

}  // namespace kvcalib
