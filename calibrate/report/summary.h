// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "calibrate/delivery/delivery.h"
#include "calibrate/report/scale_table.h"

namespace kvcalib {

// A delivery as summary.json tells it to machines and format_summary to people.
struct Summary {
  Delivery delivery;
  std::vector<ScaleRow> rows;
  std::vector<std::string> outlying;
};

// Makes the delivery whole: summary.json comes last, and lists itself too.
Summary summarise(Delivery delivery);

nlohmann::ordered_json to_json(const Summary& summary);

// The table of scales (the most telling layers of a large model), what stands out, and where the
// files are.
std::string format_summary(const Summary& summary);

}  // namespace kvcalib
