// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

#include "calibrate/output/output_names.h"
#include "calibrate/runtimes/runtime.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// TurboMind of LMDeploy v0.0.2 to v0.3.0 with quant_policy = 4: its row of the table of runtimes.
OutputNames turbomind_file_names();
int64_t turbomind_embedding_rows(const ModelConfig& shape);
StoredScales read_turbomind_scales(const std::filesystem::path& directory);
std::unique_ptr<const Runtime> open_turbomind(std::string_view release);

}  // namespace kvcalib
