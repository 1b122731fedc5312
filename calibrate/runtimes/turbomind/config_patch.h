// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "calibrate/runtimes/turbomind/releases.h"
#include "sharding/files/ini_file.h"
#include "sharding/formats/turbomind_layout.h"

namespace kvcalib {

inline constexpr const char* kConfigPatchName = "config.patch";

// The config with quant_policy = 4 and, where prefill needs it, use_context_fmha = 0: the same
// bytes otherwise.
IniFile patch_config(const IniFile& config, const TurboMindRelease& release);

// What of `config` that release would not serve int8 KV with: a sentence for each key.
std::vector<std::string> config_faults(const IniFile& config, const TurboMindRelease& release);

// patch_config as a unified diff (three lines of context) that `patch -p1` applies, from
// a/config.ini to b/config.ini; empty when nothing changes.  Lines end at "\n": a "\r" before it
// belongs to the line.
std::string config_patch(const IniFile& config, const IniFile& patched);

}  // namespace kvcalib
