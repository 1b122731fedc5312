// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/runtimes/turbomind/releases.h"
#include "sharding/files/ini_file.h"

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

// Why int8 saves what it saves there, a sentence each.
std::vector<std::string> memory_notes(const TurboMindRelease& release,
                                      const MemorySettings& settings);

}  // namespace kvcalib
