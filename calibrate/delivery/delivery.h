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

// What a run hands over, made whole before any of it is written: as make_delivery gives it, and
// with summary.json, which tells of all of it, as summarise does.
struct Delivery {
  Target target;
  std::string place;  // where the files go
  std::shared_ptr<const StatisticsFile> statistics;
  std::vector<KvScale> scales;       // [layers, target.ranks]
  std::vector<std::string> clipped;  // warnings of what these clip
  std::optional<RunCost> cost;       // of a calibration
  std::string beside_scales;         // what else the runtime reads of the files, in words
  std::vector<DeliveredFile> files;  // the runtime's, statistics, summary
};

// Without the summary.  Throws Error for statistics that give no scales, or scales that the runtime
// has no place for.
Delivery make_delivery(const WeightDirectory& weights, const Target& target,
                       StatisticsFile statistics, std::string place,
                       const std::optional<RunCost>& cost);

// Writes all files and makes them appear as one.
void write_delivery(OutputTransaction& output, const Delivery& delivery);

}  // namespace kvcalib
