// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/rotary_table.h"

#include <cmath>

namespace kvcalib {

RotaryTable make_rotary_table(const Rotation& rotation, int64_t length) {
  RotaryTable table;
  for (int64_t position = 0; position < length; ++position) {
    for (const double frequency : rotation.frequencies) {
      const double angle = static_cast<double>(position) / rotation.divisor * frequency;
      table.cosine.push_back(static_cast<float>(std::cos(angle)));
      table.sine.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  return table;
}

}  // namespace kvcalib
