// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// A model to plan for: a directory's, or a preset's (FILE.json) whose weights are not there yet.
struct PlannedModel {
  std::unique_ptr<const WeightDirectory> directory;  // of a preset: none
  ModelConfig config;
  uint64_t layer_bytes = 0;  // as stored
};

bool names_preset(const std::filesystem::path& weights);

// Throws Error for what is neither.
PlannedModel planned_model(const std::filesystem::path& weights);

}  // namespace kvcalib
