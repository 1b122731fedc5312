// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "sharding/formats/rotation.h"

namespace kvcalib {

// Cosine and sine of every pair's angle at positions 0 .. length-1: computed in double, [length,
// head_dim / 2] in float32.
struct RotaryTable {
  std::vector<float> cosine, sine;
};
RotaryTable make_rotary_table(const Rotation& rotation, int64_t length);

}  // namespace kvcalib
