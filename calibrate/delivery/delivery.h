// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/delivery/run_cost.h"
#include "calibrate/delivery/target.h"
#include "calibrate/output/output_transaction.h"
#include "calibrate/statistics/kv_scale.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/files/byte_sink.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// A file to be written: its name in the output directory, and what comes into it.
struct DeliveredFile {
  std::string name;
  FileContent content;
};

// How much wider K's step is for sessions beyond the windows: where it is the most.
struct Widening {
  int64_t layer = 0, rank = 0;
  double factor = 1.0;
};

// What a run hands over, made whole before any of it is written: as make_delivery gives it, and
// with summary.json, which tells of all of it, as summarise does.
struct Delivery {
  Target target;
  std::string place;  // where the files go
  std::shared_ptr<const StatisticsFile> statistics;
  int64_t session_length = 0;        // tokens that the scales are for
  Widening widening;                 // 1: of the windows' own ranges
  std::vector<KvScale> scales;       // [layers, target.ranks]
  std::vector<std::string> clipped;  // warnings of what these clip
  std::optional<RunCost> cost;       // of a calibration
  std::string beside_scales;         // what else the runtime reads of the files, in words
  std::vector<DeliveredFile> files;  // the runtime's, statistics, summary
};

// Without the summary.  Throws Error for statistics that give no scales, or scales that the runtime
// has no place for.
Delivery make_delivery(const WeightDirectory& weights, const Target& target,
                       std::shared_ptr<const StatisticsFile> statistics, std::string place,
                       const std::optional<RunCost>& cost);

// Stages all files.
void stage_delivery(OutputTransaction& output, const Delivery& delivery);

}  // namespace kvcalib
