// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <utility>

#include "sharding/formats/model_config.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

class Trace;

struct PassSettings {
  c10::Device device = c10::kCPU;
  int64_t micro_batch_tokens = 0;  // whole windows, at least one; 0: default_micro_batch
  int64_t reading_threads = 4;
  Trace* trace = nullptr;  // records where the time goes
};

// Tokens of a micro-batch where none is asked for: 16384 on GPUs, 2048 on CPUs.
int64_t default_micro_batch(const c10::Device& device);

// How many windows a micro-batch of the settings holds: at least one.
int64_t windows_per_micro_batch(const PassSettings& settings, int64_t length);

// The windows [first, last) of a rank: whole micro-batches, so that every GEMM is the same for any
// number of ranks.
std::pair<int64_t, int64_t> windows_of_rank(int64_t samples, int64_t windows_per_batch,
                                            int64_t rank, int64_t ranks);

// Bytes of a layer as a directory stores it: at most, and in 16 bits where there is no directory.
uint64_t stored_layer_bytes(const WeightDirectory& directory);
uint64_t stored_layer_bytes(const ModelConfig& config);

// Bytes that a rank needs on its device: two layers (one of them as it is stored), the activations
// of its windows, one micro-batch.  What is more than 64 bits can tell is the most that they can.
struct MemoryPlan {
  uint64_t layers = 0, activations = 0, micro_batch = 0;
  uint64_t head = 0;        // of what needs logits: final norm, head and a block of logits
  uint64_t histograms = 0;  // of a calibration that gathers them: histogram_bytes
  uint64_t total() const;
};
MemoryPlan plan_memory(const ModelConfig& config, uint64_t stored_layer_bytes, int64_t samples,
                       int64_t length, int64_t ranks, const PassSettings& settings);

// Bytes that the ranks of one machine need of its memory together: on CPUs what each needs on its
// device, and on all devices the ids of all windows.
struct HostMemoryPlan {
  MemoryPlan rank;
  int64_t ranks = 1;
  uint64_t ids = 0;
  uint64_t total() const;
};
HostMemoryPlan plan_host_memory(const MemoryPlan& device_plan, const c10::Device& device,
                                int64_t samples, int64_t length, int64_t ranks);

}  // namespace kvcalib
