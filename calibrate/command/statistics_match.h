// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "calibrate/runtimes/runtime_table.h"
#include "calibrate/statistics/scale_method.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// Throws Error naming `file`, which the statistics are of, when they were taken from other weights.
void check_same_model(const StatisticsFile& statistics, const std::filesystem::path& file,
                      const WeightDirectory& directory);

// K depends on how a release rotates it: statistics of one serve another only where both rotate
// alike, and where the model is still read as it was.  Throws Error as check_same_model.
void check_same_arithmetic(const StatisticsFile& statistics, const std::filesystem::path& file,
                           const WeightDirectory& directory, const RuntimeRow& row,
                           const Runtime& runtime);

// For readers that run the model as its own code does: that statistics were taken so, as those of a
// Hugging Face directory are, and that the model is still read as it was.  `row`: of what they were
// taken for.  Weights that are TurboMind's own count as it rotates them.
void check_own_arithmetic(const StatisticsFile& statistics, const std::filesystem::path& file,
                          const WeightDirectory& directory, const RuntimeRow& row);

// A warning where sessions have more tokens than windows had, and the statistics, of an earlier
// version, do not tell how K turns there; else nothing.
std::vector<std::string> session_warnings(const StatisticsFile& statistics,
                                          const std::filesystem::path& file,
                                          int64_t session_length);

// Throws Error naming `file` and the way out where it lacks the histograms that the method needs.
void check_histograms(const StatisticsFile& statistics, const std::filesystem::path& file,
                      const ScaleMethod& method);

}  // namespace kvcalib
