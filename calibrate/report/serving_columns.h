// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "calibrate/runtimes/turbomind/serving_load.h"
#include "calibrate/runtimes/turbomind/serving_memory.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// A part of a load's memory, as tables and JSON name it.
struct ServingColumn {
  const char* title;
  const char* key;
  uint64_t (*bytes)(const ServingMemory& memory);
};

inline constexpr std::array kServingColumns = {
    ServingColumn{"weights", "weights_bytes",
                  [](const ServingMemory& memory) { return memory.weights; }},
    ServingColumn{"tables", "tables_bytes",
                  [](const ServingMemory& memory) { return memory.tables; }},
    ServingColumn{"cache", "cache_bytes", [](const ServingMemory& memory) { return memory.cache; }},
    ServingColumn{"buffers", "buffers_bytes",
                  [](const ServingMemory& memory) { return memory.buffers; }},
    ServingColumn{"unfused", "unfused_attention_bytes",
                  [](const ServingMemory& memory) { return memory.unfused_attention; }},
    ServingColumn{"context", "context_bytes",
                  [](const ServingMemory& memory) { return memory.context; }},
    ServingColumn{"all", "total_bytes", [](const ServingMemory& memory) { return memory.total(); }},
};

// "fp16", "bf16" or "int8".
inline const char* cache_name(const ModelConfig& config, CacheType type) {
  if (type == CacheType::kInt8) return "int8";
  return config.weight_type == WeightType::kBFloat16 ? "bf16" : "fp16";
}

}  // namespace kvcalib
