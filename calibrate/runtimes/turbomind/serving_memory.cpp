// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/serving_memory.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "calibrate/runtimes/turbomind/deployed_config.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr double kContext = 0.94e9;  // left by the published memory of a 7B model on one GPU
constexpr double kNccl = 0.18e9;     // and by a 104B model's on eight
constexpr double kElement = 2;       // bytes of a 16-bit number
constexpr double kSplits = 16;       // of a decoded token's attention over its blocks
constexpr int64_t kMostSessions = 1'000'000;
constexpr int64_t kLargestSetting = 1'000'000'000;

// A load on one of its GPUs, in doubles: products of bounded dimensions that only have to be right
// to a byte below 2^53.
struct OnGpu {
  double layers, hidden, heads, kv_heads, width, intermediate, vocab;
  double query;     // channels of its heads
  double requests;  // sessions
  double prompt;    // tokens of the longest
  double prefill;   // tokens of all, as far as one prefill takes them

  OnGpu(const ModelConfig& model, const TurboMindRelease& release, const MemorySettings& settings,
        const ServingLoad& load);
};

int64_t most_prefill_tokens(const MemorySettings& settings, int64_t session_tokens) {
  return settings.max_context_token_num <= settings.max_batch_size
             ? settings.max_context_token_num * session_tokens
             : settings.max_context_token_num;
}

OnGpu::OnGpu(const ModelConfig& model, const TurboMindRelease& release,
             const MemorySettings& settings, const ServingLoad& load) {
  const auto ranks = static_cast<double>(load.ranks);
  layers = static_cast<double>(model.layers);
  hidden = static_cast<double>(model.hidden);
  heads = static_cast<double>(model.heads) / ranks;
  kv_heads = static_cast<double>(model.kv_heads) / ranks;
  width = static_cast<double>(model.head_dim);
  intermediate = static_cast<double>(model.intermediate) / ranks;
  vocab = static_cast<double>(deployed_rows(model.vocab, release, load.ranks));
  query = heads * width;
  requests = static_cast<double>(load.sessions);
  prompt = static_cast<double>(load.prompt_tokens);
  prefill = std::min(static_cast<double>(most_prefill_tokens(settings, load.session_tokens)),
                     requests * prompt);
}

double layer_weights(const ModelConfig& model, const OnGpu& on) {
  const double key_value = 2 * on.kv_heads * on.width;
  const double biases = model.attention_bias ? on.query + key_value + on.hidden : 0;
  return on.hidden * (on.query + key_value) + on.query * on.hidden +
         3 * on.hidden * on.intermediate + 2 * on.hidden + biases;
}

double token_of_cache(const OnGpu& on, CacheType type) {
  const double element = type == CacheType::kInt8 ? 1 : kElement;
  return 2 * on.layers * on.kv_heads * on.width * element;
}

double logits(const OnGpu& on) { return 8 * on.requests * on.vocab; }

double session_buffers(const OnGpu& on, double session_tokens) {
  return kElement * 4 * session_tokens * on.hidden +          // inputs of decoding
         kElement * on.prefill * on.hidden +                  // hidden states
         kElement * 3 * on.prefill * on.query +               // q, k and v
         kElement * 3 * on.requests * on.prompt * on.query +  // the same, padded, by head
         kElement * on.prefill * on.query +                   // attended
         kElement * on.requests * on.prompt * on.prompt +     // mask
         4 * on.prefill * on.intermediate + logits(on);
}

// Of prompts that begin: as many keys as queries.
double unfused_attention(const OnGpu& on) {
  return 2 * kElement * on.requests * on.heads * on.prompt * on.width +  // K and V as 16 bits
         kElement * on.requests * on.heads * on.prompt * on.prompt +     // scores
         kElement * on.requests * on.prompt * on.query;                  // attended, by head
}

double block_buffers(const OnGpu& on, double prefill_tokens) {
  return 4 * prefill_tokens * on.hidden +
         kElement * on.prefill * (on.heads + 2 * on.kv_heads) * on.width +
         kElement * on.prefill * on.query + 2 * kElement * on.kv_heads * on.prefill * on.width +
         4 * on.requests * on.heads * kSplits * (on.width + 2) + 4 * on.prefill * on.intermediate +
         logits(on);
}

void add_session_cache(ServingMemory& memory, const OnGpu& on, const MemorySettings& settings,
                       const ServingLoad& load, CacheType type) {
  const int64_t chunk = std::max<int64_t>(1, settings.cache_chunk_size);
  const auto most = static_cast<int64_t>(settings.cache_max_entry_count);
  const int64_t entries = std::min(most, (load.sessions + chunk - 1) / chunk * chunk);
  memory.cache = static_cast<uint64_t>(static_cast<double>(entries * load.session_tokens) *
                                       token_of_cache(on, type));
  memory.cached_sessions = entries;
  memory.cached_tokens = entries * load.session_tokens;
}

void add_block_cache(ServingMemory& memory, const OnGpu& on, const TurboMindRelease& release,
                     const MemorySettings& settings, const ServingLoad& load, CacheType type) {
  const int64_t tokens = settings.cache_block_seq_len;
  const double block = static_cast<double>(tokens) * token_of_cache(on, type);
  const auto card = static_cast<double>(load.card_bytes);
  const auto held = static_cast<double>(memory.weights + memory.tables + memory.context);
  const double shared = release.shares_free_memory ? std::max(0.0, card - held) : card;
  const double count = settings.cache_max_entry_count < 1
                           ? std::floor(settings.cache_max_entry_count * shared / block)
                           : std::floor(settings.cache_max_entry_count);
  memory.cache = static_cast<uint64_t>(count * block);
  memory.cached_tokens = static_cast<int64_t>(count) * tokens;
  memory.cached_sessions =
      static_cast<int64_t>(count) / ((load.session_tokens + tokens - 1) / tokens);
}

double setting(const IniFile* config, std::string_view key, std::string_view converters) {
  const double least = key == "cache_chunk_size" ? -1 : 0;
  if (config == nullptr || !config->find(key))
    return converters.empty() ? 0 : std::stod(std::string(converters));
  const double value = config->number(key);
  if (value < least || value > kLargestSetting ||
      (key != "cache_max_entry_count" && value != std::floor(value)))
    throw Error(concat(config->origin(), ": ", key, " = ", *config->find(key),
                       ": expected a number of at least ", least, " and at most ",
                       kLargestSetting));
  return value;
}

}  // namespace

std::string MemorySettings::text() const {
  std::string text = concat("cache_max_entry_count = ", cache_max_entry_count);
  text += cache_block_seq_len > 0 ? concat(", cache_block_seq_len = ", cache_block_seq_len)
                                  : concat(", cache_chunk_size = ", cache_chunk_size);
  return text + concat(", max_context_token_num = ", max_context_token_num);
}

MemorySettings memory_settings(const TurboMindRelease& release, const IniFile* config) {
  const ConfigDefaults& written = release.config_defaults;
  const auto whole = [config](std::string_view key, std::string_view converters) {
    return static_cast<int64_t>(setting(config, key, converters));
  };
  MemorySettings settings;
  settings.cache_max_entry_count =
      setting(config, "cache_max_entry_count", written.cache_max_entry_count);
  settings.cache_chunk_size = whole("cache_chunk_size", written.cache_chunk_size);
  if (release.pages_cache) {
    settings.cache_block_seq_len = whole("cache_block_seq_len", written.cache_block_seq_len);
    if (settings.cache_block_seq_len < 1)
      throw Error(concat(config->origin(), ": cache_block_seq_len = ", settings.cache_block_seq_len,
                         ": expected at least 1"));
  } else if (settings.cache_max_entry_count < 1) {
    throw Error(concat(config->origin(),
                       ": cache_max_entry_count = ", settings.cache_max_entry_count, ": ",
                       release.name(), " takes it for a number of sessions, expected at least 1"));
  }
  settings.max_context_token_num = whole("max_context_token_num", written.max_context_token_num);
  settings.max_batch_size = whole("max_batch_size", written.max_batch_size);
  return settings;
}

ServingMemory serving_memory(const ModelConfig& model, const TurboMindRelease& release,
                             const MemorySettings& settings, const ServingLoad& load,
                             CacheType type) {
  const OnGpu on(model, release, settings, load);
  ServingMemory memory;
  memory.weights = static_cast<uint64_t>(kElement * on.layers * layer_weights(model, on));
  memory.tables = static_cast<uint64_t>(kElement * (2 * on.vocab + 1) * on.hidden);
  memory.context = static_cast<uint64_t>(kContext + (load.ranks > 1 ? kNccl : 0));
  if (release.pages_cache) {
    add_block_cache(memory, on, release, settings, load, type);
    memory.buffers = static_cast<uint64_t>(
        block_buffers(on, static_cast<double>(most_prefill_tokens(settings, load.session_tokens))));
    return memory;
  }
  add_session_cache(memory, on, settings, load, type);
  memory.buffers =
      static_cast<uint64_t>(session_buffers(on, static_cast<double>(load.session_tokens)));
  if (type == CacheType::kInt8 && !release.int8_in_flash_attention)
    memory.unfused_attention = static_cast<uint64_t>(unfused_attention(on));
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

std::vector<std::string> memory_notes(const TurboMindRelease& release,
                                      const MemorySettings& settings) {
  std::vector<std::string> notes;
  if (!release.int8_in_flash_attention)
    notes.push_back(concat(release.name(), " computes the attention of a prompt over int8 K and V ",
                           "without its fused kernels (use_context_fmha = 0): their scores and ",
                           "16-bit copies take back a part of what the cache saves"));
  if (release.pages_cache && settings.cache_max_entry_count < 1)
    notes.push_back(concat("the cache takes a share of ", settings.cache_max_entry_count,
                           " of the ", release.shares_free_memory ? "free memory" : "whole memory",
                           " with either type: int8 does not lower the memory, it doubles the ",
                           "tokens"));
  else if (release.pages_cache)
    notes.push_back(concat("the cache has ", settings.cache_max_entry_count,
                           " blocks with either type: int8 halves their memory"));
  return notes;
}

}  // namespace kvcalib
