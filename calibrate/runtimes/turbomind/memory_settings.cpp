// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/memory_settings.h"

#include <cmath>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr int64_t kLargestSetting = 1'000'000'000;

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
