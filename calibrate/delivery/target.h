// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "calibrate/command/options.h"
#include "calibrate/output/output_transaction.h"
#include "calibrate/runtimes/turbomind/release.h"
#include "calibrate/runtimes/turbomind/scale_files.h"
#include "calibrate/statistics/kv_scale.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// What scale files are made for: a release, the ranks that serve, and the method.
struct Target {
  RuntimeRelease release;
  int64_t ranks;
  ScaleMethod method;
  std::vector<std::string> warnings;  // what the user should know and the release accepts
};

// For a weights directory, or a model that is not there yet (`embedding_rows` of its embedding on
// disk; 0: not known).  `length`: tokens of a window, for how K will be rotated.  Throws Error for
// what that release would misread.
Target resolve_target(const ModelConfig& config, const ScaleOptions& options,
                      int64_t embedding_rows, int64_t length);

// The sliding window that makes a difference to windows of `length` tokens; 0 for none.
int64_t effective_window(const ModelConfig& config, int64_t length);

// The rows of the embedding that the runtime will read; 0 where the weights are not its own.
int64_t runtime_embedding_rows(const WeightDirectory& directory);

// Opens where the files go, before any work: what cannot be written is found out now.  In place is
// only a TurboMind directory.
std::unique_ptr<OutputTransaction> open_output(const OutputOptions& options,
                                               const std::filesystem::path& weights);

// Every file of a delivery but summary.json: scales, statistics and, for a TurboMind directory,
// patched config.ini and config.patch.
std::vector<OutputFile> make_files(const WeightDirectory& directory, const Target& target,
                                   const std::vector<KvScale>& scales,
                                   const StatisticsFile& statistics);

}  // namespace kvcalib
