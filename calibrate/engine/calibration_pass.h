// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>

#include "calibrate/engine/rotary_embedding.h"
#include "calibrate/statistics/kv_statistics.h"
#include "sharding/communicator.h"
#include "sharding/formats/turbomind_directory.h"

namespace kvcalib {

// The calibration windows: ids [samples, length] row-major, the same on every rank.
struct WindowIds {
  std::span<const int32_t> ids;
  int64_t samples = 0;
  int64_t length = 0;
};

struct PassSettings {
  at::Device device = at::kCPU;
  int64_t micro_batch_tokens = 0;  // whole windows, at least one; 0: default_micro_batch
  int64_t reading_threads = 4;
};

// Where a pass stands; given after every layer.
struct PassProgress {
  int64_t layers_done = 0, layers = 0;
  int64_t tokens = 0;         // of all ranks, per layer
  double seconds = 0;         // since the first layer was asked for
  double waited_seconds = 0;  // of them, for the reader
  uint64_t bytes_read = 0;    // by this rank
  double read_seconds = 0;    // in the background
};
using ProgressObserver = std::function<void(const PassProgress&)>;

// Tokens of a micro-batch where none is asked for: 16384 on GPUs, 2048 on CPUs.
int64_t default_micro_batch(const at::Device& device);

// How many windows a micro-batch of so many tokens holds: at least one.
int64_t windows_per_micro_batch(int64_t micro_batch_tokens, int64_t length);

// The windows [first, last) of a rank: whole micro-batches, so that every GEMM is the same for any
// number of ranks.
std::pair<int64_t, int64_t> windows_of_rank(int64_t samples, int64_t windows_per_batch,
                                            int64_t rank, int64_t ranks);

// Bytes that a rank needs on its device, by the shape alone: two layers, the activations of its
// windows, one micro-batch.
struct MemoryPlan {
  uint64_t layers = 0, activations = 0, micro_batch = 0;
  uint64_t total() const { return layers + activations + micro_batch; }
};
MemoryPlan plan_memory(const ModelConfig& config, int64_t samples, int64_t length, int64_t ranks,
                       const PassSettings& settings);

// Runs the windows through the model and returns the range of every K and V channel over all of
// them, not yet rounded to the cache's type where the pass computes in float32
// (KvStatistics::rounded does that).  Every rank returns the same.  Throws Error naming layer and
// tensor when weights or activations are not finite.
KvStatistics run_calibration_pass(const TurboMindDirectory& directory,
                                  const RuntimeRelease& release, const WindowIds& windows,
                                  Communicator& communicator, const PassSettings& settings,
                                  const ProgressObserver& progress);

}  // namespace kvcalib
