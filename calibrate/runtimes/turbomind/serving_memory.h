// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/runtimes/turbomind/memory_settings.h"
#include "calibrate/runtimes/turbomind/releases.h"
#include "calibrate/runtimes/turbomind/serving_allocations.h"
#include "calibrate/runtimes/turbomind/serving_load.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// Bytes on each GPU at their peak, and what of the load the cache has room for.
struct ServingMemory {
  uint64_t weights = 0;
  uint64_t tables = 0;  // embedding and output head, whole on every GPU
  uint64_t cache = 0;
  uint64_t buffers = 0;            // of prefill and decoding, logits
  uint64_t unfused_attention = 0;  // scores and copies of K and V, where int8 shuts out fused ones
  uint64_t context = 0;            // CUDA, cuBLAS, between GPUs NCCL

  int64_t cached_tokens = 0;
  int64_t cached_sessions = 0;  // of the load's length

  std::vector<ServingAllocation> allocations;  // all but `context`, in the order they are taken

  uint64_t total() const {
    return weights + tables + cache + buffers + unfused_attention + context;
  }
};

// TurboMind's own allocations: LlamaV2.cc, LlamaCacheManager.cc, LlamaBatch.cc,
// LlamaContextAttentionLayer.cc and LlamaFfnLayer.cc of v0.0.x; SequenceManager.cc and
// BlockManager.cc of v0.1.0 to v0.3.0, with the buffers of v0.3.0.  `context` is not computed but
// was read off published measurements.
ServingMemory serving_memory(const ModelConfig& model, const TurboMindRelease& release,
                             const MemorySettings& settings, const ServingLoad& load,
                             CacheType type);

// The most sessions as in `load` that a GPU serves at once; 0: not even one.
int64_t sessions_that_fit(const ModelConfig& model, const TurboMindRelease& release,
                          const MemorySettings& settings, const ServingLoad& load, CacheType type);

}  // namespace kvcalib
