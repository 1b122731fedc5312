// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/statistics/kv_statistics.h"

namespace kvcalib {

// How one layer and serving rank stores K and V as int8: q = clamp(round((x - zero) / scale), -128,
// 127), x' = q * scale + zero.  `zero` is in the units of x, not an integer.
struct KvScale {
  float k_scale = 1.0f;
  float k_zero = 0.0f;
  float v_scale = 1.0f;
  float v_zero = 0.0f;

  bool operator==(const KvScale&) const = default;
};

enum class ScaleMethod { kAsymmetric, kSymmetric };

inline const char* name(ScaleMethod method) {
  return method == ScaleMethod::kAsymmetric ? "asymmetric" : "symmetric";
}

// Below it a step is written as this: the smallest step of fp16, 2^-24.
inline constexpr float kSmallestScale = 0x1p-24f;

// The extremes over some channels, widened to hold 0.
struct Range {
  float low = 0.0f;   // <= 0
  float high = 0.0f;  // >= 0
};

// The range of K and of V over kv heads [rank * kv_heads / ranks, (rank + 1) * kv_heads / ranks) of
// `layer` and all their channels.
Range key_range(const KvStatistics& statistics, int64_t layer, int64_t rank, int64_t ranks);
Range value_range(const KvStatistics& statistics, int64_t layer, int64_t rank, int64_t ranks);

// The scales of every layer and serving rank: [layers, ranks].
//
// Every operation is one IEEE fp32 operation, rounded to nearest even, in this order:
//   low        = min(0, smallest minimum), high = max(0, largest maximum)     (see Range)
//   asymmetric   scale = (high - low) / 255.0f        zero = (high + low) * 0.5f
//   symmetric    scale = max(-low, high) / 127.0f     zero = 0.0f
//   last         scale = max(scale, 2^-24)
// Source: LMDeploy v0.3.0 kv_qparams.py, which computes in fp16 and neither widens nor clamps.
//
// Throws Error when kv_heads does not divide by `ranks`, and naming layer and rank when a range is
// not finite or wider than fp32 can say.
std::vector<KvScale> compute_scales(const KvStatistics& statistics, int64_t ranks,
                                    ScaleMethod method);

}  // namespace kvcalib
