// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "calibrate/delivery/target.h"
#include "calibrate/output/output_transaction.h"
#include "calibrate/runtimes/scale_exporter.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// What is handed to a program that only reads scales, made whole before any of it is written.
struct ScaleExport {
  const ScaleExporter* exporter = nullptr;
  std::string place;  // where the files go
  std::vector<OutputFile> files;
  std::vector<std::string> warnings;  // beside the target's
  nlohmann::ordered_json summary;     // summary.json
  std::shared_ptr<const StatisticsFile> statistics;
};

// For each reader of the target that only reads scales, in their order.  Throws Error where one
// has no place for what the statistics give.  `place`: of all files; where the target has several
// readers, each gets a folder there.
std::vector<ScaleExport> make_exports(const WeightDirectory& weights, const Target& target,
                                      const std::shared_ptr<const StatisticsFile>& statistics,
                                      const std::string& place);

// What stands before the names of a reader's files: its folder, where there are several readers.
std::string folder_of(const Target& target, std::string_view reader);

// Stages all files, with statistics and summary.
void stage_export(OutputTransaction& output, const Target& target, const ScaleExport& exported);

}  // namespace kvcalib
