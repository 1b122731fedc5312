// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/delivery/target.h"
#include "calibrate/report/scale_table.h"
#include "sharding/ranks/interconnect.h"
#include "sharding/streaming/reading_cost.h"

namespace kvcalib {

// What a calibration run cost.
struct RunCost {
  std::string devices;
  int64_t ranks = 1;
  Interconnect interconnect;
  double prepare_seconds =
      0;                     // start of the program to the first layer: tokens drawn, ranks joined
  double layer_seconds = 0;  // all layers
  ReadingCost reading;       // of the first rank
  uint64_t peak_host_bytes = 0;
  uint64_t peak_device_bytes = 0;  // 0 on the CPU
};

// A delivery as summary.json tells it to machines and format_summary to people.
struct Summary {
  std::string runtime;
  int64_t serving_ranks = 1;
  std::string method;
  Provenance provenance;
  std::vector<ScaleRow> rows;
  std::vector<std::string> outlying;
  std::vector<std::string> warnings;
  std::vector<std::string> files;
  std::string place;            // where the files are
  bool patched_config = false;  // a config.ini is among them
  std::string note;  // how to start the release so that it obeys config.ini; may be empty
  std::optional<RunCost> cost;
};

nlohmann::ordered_json to_json(const Summary& summary);

// The table of scales (the most telling layers of a large model), what stands out, and where the
// files are.
std::string format_summary(const Summary& summary);

// Makes the scales, writes all files and summary.json and commits them as one.
Summary deliver(OutputTransaction& output, const OutputOptions& where,
                const WeightDirectory& directory, const Target& target,
                const StatisticsFile& statistics, const std::optional<RunCost>& cost);

}  // namespace kvcalib
