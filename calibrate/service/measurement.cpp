// SPDX-License-Identifier: Apache-2.0
#include "calibrate/service/measurement.h"

#include <cmath>
#include <cstdlib>

namespace kvcalib {
namespace {

constexpr int64_t kUnsettled = int64_t{64} << 20U;  // bytes: two steps of a pool

uint64_t& figure_of(ServingMemory& memory, ServingPart part) {
  switch (part) {
    case ServingPart::kTables:
      return memory.tables;
    case ServingPart::kCache:
      return memory.cache;
    case ServingPart::kBuffers:
      return memory.buffers;
    case ServingPart::kUnfusedAttention:
      return memory.unfused_attention;
    case ServingPart::kWeights:
      break;
  }
  return memory.weights;
}

bool hold_all(MemoryHolder& holder, const ServingAllocation& allocation) {
  for (uint64_t i = 0; i < allocation.count; ++i)
    if (!holder.hold(allocation.bytes, allocation.taking)) return false;
  return true;
}

// Whether there was room for everything.
bool hold_parts(MemoryHolder& holder, const ServingMemory& planned, ServingMemory& taken) {
  const uint64_t before = holder.memory().used_bytes;
  uint64_t counted = 0;
  for (const ServingAllocation& allocation : planned.allocations) {
    if (!hold_all(holder, allocation)) return false;
    const uint64_t used = holder.memory().used_bytes;
    const uint64_t held = used > before ? used - before : 0;
    if (held > counted) {
      figure_of(taken, allocation.part) += held - counted;
      counted = held;
    }
  }
  return true;
}

}  // namespace

Measurement measure(MemoryHolder& holder, const ServingMemory& planned) {
  Measurement measured;
  const CardMemory before = holder.memory();
  measured.needed_bytes = planned.total() - planned.context;
  measured.free_bytes = before.free_bytes();
  measured.taken.context = holder.context_bytes().value_or(planned.context);
  if (measured.needed_bytes > measured.free_bytes) return measured;
  measured.held = hold_parts(holder, planned, measured.taken);
  holder.release();
  measured.others_bytes =
      static_cast<int64_t>(holder.memory().used_bytes) - static_cast<int64_t>(before.used_bytes);
  return measured;
}

double percent_off(uint64_t planned, uint64_t measured) {
  if (planned == 0) return 0;
  return (static_cast<double>(measured) / static_cast<double>(planned) - 1) * 100;
}

Nearness nearness(const ServingMemory& planned, const Measurement& measured) {
  if (std::abs(measured.others_bytes) > kUnsettled) return Nearness::kDisturbed;
  if (!measured.held) return Nearness::kNoRoom;
  const double off = percent_off(planned.total() - planned.context,
                                 measured.taken.total() - measured.taken.context);
  return std::fabs(off) <= kNearPercent ? Nearness::kWithin : Nearness::kBeyond;
}

}  // namespace kvcalib
