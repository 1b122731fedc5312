// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace kvcalib {

// What one rank spent so far on bringing layers to its device, beside the computation.
struct ReadingCost {
  uint64_t bytes_read = 0;      // from files: its own shares
  double read_seconds = 0;      // from files to the device, while there was room for it
  uint64_t bytes_gathered = 0;  // from the other ranks: their shares
  double gather_seconds = 0;    // with the time in which it waited for slower ranks
  double waited_seconds = 0;    // the computation stood still until a layer was there
};

}  // namespace kvcalib
