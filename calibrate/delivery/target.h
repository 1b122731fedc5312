// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "calibrate/command/options.h"
#include "calibrate/output/output_transaction.h"
#include "calibrate/runtimes/runtime.h"
#include "calibrate/statistics/kv_scale.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// What scale files are made for: a runtime, the ranks that serve, and the method.
struct Target {
  std::shared_ptr<const Runtime> runtime;
  int64_t ranks;
  ScaleMethod method;
  std::vector<std::string> warnings;  // what the user should know and the release accepts
};

// For a weights directory, or a model that is not there yet (`embedding_rows` of its embedding on
// disk; 0: not known).  `length`: tokens of a window, for how K will be rotated.  Throws Error for
// what that runtime would misread.
Target resolve_target(const ModelConfig& config, const ScaleOptions& options,
                      int64_t embedding_rows, int64_t length);

// Opens where the files go, before any work: what cannot be written is found out now.  In place is
// only a TurboMind directory.
std::unique_ptr<OutputTransaction> open_output(const OutputOptions& options,
                                               const std::filesystem::path& weights);

// Takes back what a killed run has left where the files go.
void clear_output(const OutputOptions& options, const std::filesystem::path& weights);

// Every file of a delivery but summary.json: the runtime's, and statistics.
std::vector<OutputFile> make_files(const WeightDirectory& directory, const Target& target,
                                   const std::vector<KvScale>& scales,
                                   const StatisticsFile& statistics);

}  // namespace kvcalib
