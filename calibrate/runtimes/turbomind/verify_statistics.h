// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "calibrate/runtimes/runtime.h"
#include "calibrate/runtimes/turbomind/verify_scales.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// Whether scale files are what the directory's kv_stats.safetensors gives, by the method that
// summary.json names beside it; and whether the statistics are of that model and of those weights
// (null: not at hand).  A method that is not known is a fault.  Without summary.json it is the
// method that explains more of the files; so where that is not readable, which is noted.
void compare_with_statistics(const std::filesystem::path& directory, const ModelConfig& model,
                             const WeightDirectory* weights, const TurboMindRelease& release,
                             const ScaleFiles& files, VerifyReport& report);

}  // namespace kvcalib
