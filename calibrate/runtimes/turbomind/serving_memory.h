// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/runtimes/turbomind/releases.h"
#include "sharding/files/ini_file.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// How the memory of a release's cache and buffers is set: the keys of config.ini.
struct MemorySettings {
  double cache_max_entry_count = 0;   // sessions, or blocks, or below 1 a share of the memory
  int64_t cache_chunk_size = 1;       // entries allocated at a time
  int64_t cache_block_seq_len = 0;    // tokens of a block; 0: an entry is a whole session
  int64_t max_context_token_num = 0;  // tokens of a prefill, or up to max_batch_size, sessions
  int64_t max_batch_size = 0;

  std::string text() const;  // as config.ini has them, in a line
};

// As `config` says (none: nullptr) and where it does not, as that release's converter writes it.
// Throws Error naming the key whose value cannot be.
MemorySettings memory_settings(const TurboMindRelease& release, const IniFile* config);

// A session of 2048 tokens, as converters write it.
inline constexpr int64_t kUsualSessionTokens = 2056;

// What is to be served at once.
struct ServingLoad {
  int64_t ranks = 1;           // one on each GPU
  int64_t sessions = 1;        // that begin in one prefill, the most that memory is needed for
  int64_t session_tokens = 0;  // session_len
  int64_t prompt_tokens = 0;   // of the longest prompt among them
  uint64_t card_bytes = 0;     // memory of a GPU
};

enum class CacheType { kSixteenBits, kInt8 };

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

// Why int8 saves what it saves there, a sentence each.
std::vector<std::string> memory_notes(const TurboMindRelease& release,
                                      const MemorySettings& settings);

}  // namespace kvcalib
