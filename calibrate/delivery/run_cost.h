// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "sharding/ranks/interconnect.h"
#include "sharding/streaming/reading_cost.h"

namespace kvcalib {

// What a calibration run cost.
struct RunCost {
  std::string devices;
  int64_t ranks = 1;
  Interconnect interconnect;
  // Start of the program to the first layer: tokens drawn, ranks joined.
  double prepare_seconds = 0;
  double layer_seconds = 0;  // all layers
  ReadingCost reading;       // of the first rank
  uint64_t peak_host_bytes = 0;
  uint64_t peak_device_bytes = 0;  // 0 on the CPU
};

}  // namespace kvcalib
