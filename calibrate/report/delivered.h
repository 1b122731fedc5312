// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/delivery/scale_export.h"
#include "calibrate/report/summary.h"

namespace kvcalib {

// What a run hands over to all its readers.
struct Delivered {
  std::optional<Summary> summary;    // of TurboMind's files, where it is a reader
  std::vector<ScaleExport> exports;  // to the others
};

// Makes all of it, writes it and makes it appear as one.  `place`: where the files go.  Throws
// Error as make_delivery and make_exports do, and what writing throws.
Delivered deliver(const WeightDirectory& weights, const Target& target, StatisticsFile statistics,
                  const std::string& place, const std::optional<RunCost>& cost,
                  OutputTransaction& output);

// A single reader's summary, or an object with those of several by their names.
nlohmann::ordered_json to_json(const Delivered& delivered);

// As format_summary, and some lines for each of the others.
std::string format_delivered(const Delivered& delivered);

}  // namespace kvcalib
