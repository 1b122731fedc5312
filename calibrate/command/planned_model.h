// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "calibrate/runtimes/runtime_table.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// A model to plan for: a directory's, or a preset's (FILE.json) whose weights are not there yet.
struct PlannedModel {
  std::unique_ptr<const WeightDirectory> directory;  // of a preset: none
  ModelConfig config;
  uint64_t layer_bytes = 0;    // as stored
  int64_t embedding_rows = 0;  // on disk, or as the runtime's converter would cut them
};

bool names_preset(const std::filesystem::path& weights);

// Throws Error for what is neither.
PlannedModel planned_model(const std::filesystem::path& weights, const RuntimeRow& runtime);

}  // namespace kvcalib
