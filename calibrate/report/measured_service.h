// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/report/serving_table.h"
#include "calibrate/service/measurement.h"

namespace kvcalib {

// The memory of a model in service, as planned and as a GPU held it for one of its ranks.
struct MeasuredService {
  ServingPlan plan;
  std::vector<Measurement> measured;  // of each of its rows
  std::string gpu;                    // its name
  CardMemory card;                    // before, with the context
  std::optional<uint64_t> context_bytes;

  // Whether there was room for any.
  bool any_held() const;
  // By other programs; nothing where that cannot be told from the context.
  std::optional<uint64_t> others_bytes() const;
};

std::string format_measured(const MeasuredService& service);
std::string measured_json(const MeasuredService& service);

}  // namespace kvcalib
