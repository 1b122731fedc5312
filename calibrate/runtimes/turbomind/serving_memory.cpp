// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/serving_memory.h"

#include <algorithm>
#include <cmath>

namespace kvcalib {
namespace {

constexpr double kContext = 0.94e9;  // left by the published memory of a 7B model on one GPU
constexpr double kNccl = 0.18e9;     // and by a 104B model's on eight
constexpr int64_t kMostSessions = 1'000'000;

double token_of_cache(const ModelConfig& model, int64_t ranks, CacheType type) {
  const double element = type == CacheType::kInt8 ? 1 : 2;
  return 2 * static_cast<double>(model.layers) * static_cast<double>(model.kv_heads) /
         static_cast<double>(ranks) * static_cast<double>(model.head_dim) * element;
}

void append(std::vector<ServingAllocation>& all, const std::vector<ServingAllocation>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

void add_session_cache(ServingMemory& memory, const MemorySettings& settings,
                       const ServingLoad& load, double token) {
  const int64_t chunk = std::max<int64_t>(1, settings.cache_chunk_size);
  const auto most = static_cast<int64_t>(settings.cache_max_entry_count);
  const int64_t entries = std::min(most, (load.sessions + chunk - 1) / chunk * chunk);
  append(memory.allocations,
         cache_allocations(static_cast<double>(load.session_tokens) * token, entries, chunk));
  memory.cached_sessions = entries;
  memory.cached_tokens = entries * load.session_tokens;
}

// Blocks that are taken at a time: BlockManager.cc.
int64_t chunk_of_blocks(int64_t chunk_size, int64_t blocks) {
  if (chunk_size == 0) return std::max<int64_t>(1, std::llround(std::floor(std::sqrt(blocks))));
  return chunk_size > 0 ? chunk_size : std::max<int64_t>(1, blocks);
}

void add_block_cache(ServingMemory& memory, const TurboMindRelease& release,
                     const MemorySettings& settings, const ServingLoad& load, double token) {
  const int64_t tokens = settings.cache_block_seq_len;
  const double block = static_cast<double>(tokens) * token;
  const auto card = static_cast<double>(load.card_bytes);
  const auto held = static_cast<double>(memory.weights + memory.tables + memory.context);
  const double shared = release.shares_free_memory ? std::max(0.0, card - held) : card;
  const auto blocks = static_cast<int64_t>(settings.cache_max_entry_count < 1
                                               ? settings.cache_max_entry_count * shared / block
                                               : settings.cache_max_entry_count);
  append(memory.allocations,
         cache_allocations(block, blocks, chunk_of_blocks(settings.cache_chunk_size, blocks)));
  memory.cached_tokens = blocks * tokens;
  memory.cached_sessions = blocks / ((load.session_tokens + tokens - 1) / tokens);
}

}  // namespace

ServingMemory serving_memory(const ModelConfig& model, const TurboMindRelease& release,
                             const MemorySettings& settings, const ServingLoad& load,
                             CacheType type) {
  ServingMemory memory;
  memory.allocations = model_allocations(model, release, load.ranks);
  memory.weights = bytes_of(memory.allocations, ServingPart::kWeights);
  memory.tables = bytes_of(memory.allocations, ServingPart::kTables);
  memory.context = static_cast<uint64_t>(kContext + (load.ranks > 1 ? kNccl : 0));
  const double token = token_of_cache(model, load.ranks, type);
  if (release.pages_cache)
    add_block_cache(memory, release, settings, load, token);
  else
    add_session_cache(memory, settings, load, token);
  append(memory.allocations, buffer_allocations(model, release, settings, load, type));
  memory.cache = bytes_of(memory.allocations, ServingPart::kCache);
  memory.buffers = bytes_of(memory.allocations, ServingPart::kBuffers);
  memory.unfused_attention = bytes_of(memory.allocations, ServingPart::kUnfusedAttention);
  return memory;
}

int64_t sessions_that_fit(const ModelConfig& model, const TurboMindRelease& release,
                          const MemorySettings& settings, const ServingLoad& load, CacheType type) {
  const auto fit = [&](int64_t sessions) {
    ServingLoad tried = load;
    tried.sessions = sessions;
    const ServingMemory memory = serving_memory(model, release, settings, tried, type);
    return memory.total() <= load.card_bytes && sessions <= memory.cached_sessions;
  };
  int64_t fitting = 0, failing = kMostSessions;
  while (failing - fitting > 1) {
    const int64_t middle = fitting + (failing - fitting) / 2;
    (fit(middle) ? fitting : failing) = middle;
  }
  return fitting;
}

}  // namespace kvcalib
