// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "calibrate/engine/calibration_pass.h"
#include "sharding/ranks/communicator.h"
#include "sharding/ranks/rendezvous.h"
#include "sharding/streaming/trace.h"

namespace kvcalib {

// Joins the other ranks with the device that this one computes on.  `rendezvous` outlives the
// communicator.
std::unique_ptr<Communicator> join_ranks(const Rank& rank, const c10::Device& device,
                                         Rendezvous& rendezvous);

// How a rank of `ranks` runs its pass; `trace` may be null.
PassSettings pass_settings(const c10::Device& device, int64_t micro_batch_tokens, int64_t ranks,
                           Trace* trace);

// Throws Error when the current GPU has no room for the pass; before anything is allocated: Torch's
// own message would tell of the last allocation only.
void check_memory(const WeightDirectory& directory, const PassWindows& windows,
                  const PassSettings& settings, int64_t ranks);
// Throws Error when a plan does not fit into the free bytes of a device, saying what is needed,
// what there is, and the way out.
void check_memory(const MemoryPlan& plan, const std::string& device, uint64_t free_bytes,
                  uint64_t total_bytes);

}  // namespace kvcalib
