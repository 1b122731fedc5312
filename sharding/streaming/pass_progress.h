// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "sharding/streaming/reading_cost.h"

namespace kvcalib {

// Where a pass over the layers stands.
struct PassProgress {
  int64_t layers_done = 0, layers = 0;
  int64_t tokens = 0;  // of all ranks, per layer
  double seconds = 0;  // since the first layer was asked for
  ReadingCost reading;
};

}  // namespace kvcalib
