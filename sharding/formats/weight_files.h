// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// The files that a model is read from, each once: its config, its layers, its tables.
std::vector<std::filesystem::path> weight_files(const WeightDirectory& directory);

}  // namespace kvcalib
