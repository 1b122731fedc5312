// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "calibrate/statistics/channel_scales.h"

namespace kvcalib {

// How a stream's cache holds K and V.  A value x is rounded to the model's 16-bit type, and what is
// read back, x', is rounded to it too:
//   kSixteenBits  x' = x
//   kInt8         q = clamp(round((x - zero) / scale), -128, 127), x' = q scale + zero: round half
//                 to even, in fp32, of its channel's scale and zero
//   kInt8OfToken  the same of each token and kv head on its own, as it comes: of its smallest and
//                 largest value, scale = (max - min) / 255, zero = (max + min) / 2 + scale / 2,
//                 so that -128 stands for min and 127 for max (LMDeploy v0.4 and later); a scale
//                 of 0 leaves the values as they are
//   kFloat8       x' = e4m3(x / scale) scale of its channel's scale: round half to even, saturating
//                 at 448
struct CacheFormat {
  enum class Kind : uint8_t { kSixteenBits, kInt8, kInt8OfToken, kFloat8 };

  Kind kind = Kind::kSixteenBits;
  ChannelScales keys, values;  // of kInt8, and without zeros of kFloat8
};

}  // namespace kvcalib
