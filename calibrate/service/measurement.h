// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "calibrate/runtimes/turbomind/serving_memory.h"
#include "calibrate/service/memory_holder.h"

namespace kvcalib {

// A load's memory, held on a GPU.
struct Measurement {
  bool held = false;  // all of it at once; else the GPU has no room
  // By the driver's figures; where not all was held, what was until then.  `context` as planned
  // where the holder cannot tell it; `allocations` are none.
  ServingMemory taken;
  uint64_t needed_bytes = 0;  // without the context, which is there already
  uint64_t free_bytes = 0;    // before
  int64_t others_bytes = 0;   // by which the GPU was fuller after than before: others' doing
};

// How near a measurement is to its plan.
enum class Nearness {
  kWithin,     // without the context, which is this program's own and not the runtime's, the sums
               // differ by kNearPercent at most
  kBeyond,     // by more
  kDisturbed,  // others took or gave back memory meanwhile: the figures say nothing
  kNoRoom,
};
inline constexpr double kNearPercent = 3;

// Takes what was planned part by part, reads the driver's figure after each, and gives it all back.
// Throws what the holder throws.
Measurement measure(MemoryHolder& holder, const ServingMemory& planned);

// (measured - planned) / planned, in percent; 0 of nothing.
double percent_off(uint64_t planned, uint64_t measured);

Nearness nearness(const ServingMemory& planned, const Measurement& measured);

}  // namespace kvcalib
