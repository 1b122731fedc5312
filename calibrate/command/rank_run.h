// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "calibrate/command/host_memory.h"
#include "calibrate/engine/calibration_pass.h"
#include "sharding/ranks/communicator.h"
#include "sharding/ranks/rendezvous.h"
#include "sharding/streaming/trace.h"

namespace kvcalib {

// One rank's part of a calibration, ready to run.
struct RankRun {
  std::unique_ptr<Communicator> communicator;
  std::unique_ptr<CalibrationPass> pass;
};

// Where and how a rank computes.
struct RankWork {
  Rank rank;
  c10::Device device = c10::kCPU;
  int64_t micro_batch_tokens = 0;  // as PassSettings has it
  Trace* trace = nullptr;
};

// Joins the other ranks and makes the device ready.  Directory and rendezvous outlive the run.
// Throws Error when a GPU has no room for the pass.
RankRun start_rank_run(const WeightDirectory& directory, const PassWindows& windows,
                       const RankWork& work, Rendezvous& rendezvous);

// Throws Error when a plan does not fit into the free bytes of a device, saying what is needed,
// what there is, and the way out.
void check_memory(const MemoryPlan& plan, const std::string& device, uint64_t free_bytes,
                  uint64_t total_bytes);

// The same for what the ranks of one machine need of its memory together.
void check_host_memory(const HostMemoryPlan& plan, const HostMemory& memory);

}  // namespace kvcalib
