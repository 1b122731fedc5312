// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "calibrate/runtimes/turbomind/memory_settings.h"
#include "calibrate/runtimes/turbomind/releases.h"
#include "calibrate/runtimes/turbomind/serving_load.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// What a serving rank takes of its GPU's memory, beside what CUDA does.
enum class ServingPart { kWeights, kTables, kCache, kBuffers, kUnfusedAttention };

// How it does: by cudaMalloc, or by cudaMallocAsync from a pool that gives nothing back.
enum class Taking { kAlone, kPooled };

// Memory that is taken in one piece, or in several of the same size one after the other.
struct ServingAllocation {
  ServingPart part = ServingPart::kWeights;
  Taking taking = Taking::kAlone;
  uint64_t bytes = 0;  // of a piece
  uint64_t count = 1;  // pieces
};

// Weights and tables.
std::vector<ServingAllocation> model_allocations(const ModelConfig& model,
                                                 const TurboMindRelease& release, int64_t ranks);

// A cache of `entries`, sessions or blocks, of which `chunk` are taken at a time.
std::vector<ServingAllocation> cache_allocations(double entry_bytes, int64_t entries,
                                                 int64_t chunk);

// Buffers at their peak, and what attention takes that is not fused.
std::vector<ServingAllocation> buffer_allocations(const ModelConfig& model,
                                                  const TurboMindRelease& release,
                                                  const MemorySettings& settings,
                                                  const ServingLoad& load, CacheType type);

// Of all those that are of that part.
uint64_t bytes_of(std::span<const ServingAllocation> allocations, ServingPart part);

}  // namespace kvcalib
