// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "calibrate/runtimes/runtime.h"
#include "calibrate/runtimes/turbomind/releases.h"

namespace kvcalib {

// Checks names, number, sizes and values of the scale files, config.ini for that release, and that
// the scales are those of kv_stats.safetensors where that is present.  Weights may be absent (an
// output directory).  `serving_ranks`: tensor_para_size of config.ini when not given.  Throws Error
// only when `directory` is no readable directory.
VerifyReport verify_directory(const std::filesystem::path& directory,
                              const TurboMindRelease& release,
                              std::optional<int64_t> serving_ranks);

}  // namespace kvcalib
