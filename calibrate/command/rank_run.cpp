// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/rank_run.h"

#include <algorithm>
#include <thread>

#include "calibrate/report/gigabytes.h"
#include "sharding/files/error.h"
#include "sharding/ranks/make_communicator.h"
#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

// Threads that read beside the computation.  With a GPU the processor has nothing else to do:
// twelve threads fill a PCIe 5 bus from memory, and ranks of one machine share its cores.
int64_t reading_threads(const c10::Device& device, int64_t ranks) {
  if (device.is_cpu()) return 2;
  const auto cores = static_cast<int64_t>(std::thread::hardware_concurrency());
  return std::clamp<int64_t>(cores / ranks, 4, 12);
}

std::string with_histograms(const MemoryPlan& plan) {
  return plan.histograms > 0 ? concat(", histograms ", gigabytes(plan.histograms)) : std::string();
}

}  // namespace

RankRun join_ranks(const RankWork& work, Rendezvous& rendezvous) {
  if (work.device.is_cuda()) set_gpu(work.device);
  return {make_communicator(work.rank, work.device, rendezvous),
          {.device = work.device,
           .micro_batch_tokens = work.micro_batch_tokens,
           .reading_threads = reading_threads(work.device, work.rank.world),
           .trace = work.trace}};
}

// Before anything is allocated: Torch's own message would tell of the last allocation only.
void check_device_memory(const MemoryPlan& plan, const c10::Device& device, const char* ways_out) {
  if (device.is_cpu()) return;
  const GpuMemory memory = gpu_memory();
  check_memory(plan, device.str(), memory.free_bytes, memory.total_bytes, ways_out);
}

void check_memory(const MemoryPlan& plan, const std::string& device, uint64_t free_bytes,
                  uint64_t total_bytes, const char* ways_out) {
  if (plan.total() <= free_bytes) return;
  throw Error(concat(
      device, ": ", gigabytes(plan.total()), " are needed (two layers ", gigabytes(plan.layers),
      ", activations ", gigabytes(plan.activations), ", micro-batch ", gigabytes(plan.micro_batch),
      plan.head > 0 ? concat(", head ", gigabytes(plan.head)) : std::string(),
      with_histograms(plan), "), ", gigabytes(free_bytes), " of ", gigabytes(total_bytes),
      " are free; ", ways_out, ", and see what else runs there"));
}

void check_host_memory(const HostMemoryPlan& plan, const HostMemory& memory) {
  if (plan.total() <= memory.free_bytes) return;
  const bool several = plan.ranks > 1;
  throw Error(
      concat("host memory: ", gigabytes(plan.total()), " are needed (",
             several ? concat("each of ", plan.ranks, " ranks: ") : std::string(), "two layers ",
             gigabytes(plan.rank.layers), ", activations ", gigabytes(plan.rank.activations),
             ", micro-batch ", gigabytes(plan.rank.micro_batch), with_histograms(plan.rank),
             several ? "; all: " : ", ", "token ids ", gigabytes(plan.ids), "), ",
             gigabytes(memory.free_bytes), " of ", gigabytes(memory.total_bytes), " are free (",
             memory.source, "); use fewer --samples, a shorter --length, a smaller --micro-batch",
             several ? " or fewer ranks" : "", ", and see what else runs there"));
}

}  // namespace kvcalib
