// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "calibrate/runtimes/exported_directory.h"
#include "calibrate/runtimes/runtime.h"

namespace kvcalib {

// The modules whose k_scale and v_scale an overlay holds: both spellings.
std::vector<std::string> overlay_modules(int64_t layer);

// config.json's quantization_config of a model whose cache alone is quantised, as
// compressed-tensors has it.
nlohmann::ordered_json overlay_quantization();

// ScaleExporter::verify of an overlay: names of every layer in both spellings, F32 of one value,
// the two spellings alike, kv_cache_scheme in config.json or in what is to be merged into it.
void verify_overlay(const ExportedDirectory& directory, VerifyReport& report);

}  // namespace kvcalib
