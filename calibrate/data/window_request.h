// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace kvcalib {

// Which windows to draw.
struct WindowRequest {
  int64_t samples = 128;
  int64_t length = 2048;  // tokens of a window
  uint64_t seed = 0;
  bool pack = false;  // lay documents end to end instead of drawing long ones
};

// 16 GiB of ids: far more than a calibration can use.
inline constexpr int64_t kMostTokens = int64_t{1} << 32;

}  // namespace kvcalib
