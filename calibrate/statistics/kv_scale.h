// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/statistics/kv_statistics.h"
#include "calibrate/statistics/scale_method.h"

namespace kvcalib {

// How one layer and serving rank stores K and V as int8: q = clamp(round((x - zero) / scale), -128,
// 127), x' = q * scale + zero.  `zero` is in the units of x, not an integer.
struct KvScale {
  float k_scale = 1.0f;
  float k_zero = 0.0f;
  float v_scale = 1.0f;
  float v_zero = 0.0f;

  TensorScale key() const { return {k_scale, k_zero}; }
  TensorScale value() const { return {v_scale, v_zero}; }

  bool operator==(const KvScale&) const = default;
};

// The scales of every layer and serving rank: [layers, ranks].
//
// Throws Error when kv_heads does not divide by `ranks`, for a method of histograms where the
// statistics have none, and naming layer and rank when a range is not finite or wider than fp32 can
// say.
std::vector<KvScale> compute_scales(const KvStatistics& statistics, int64_t ranks,
                                    const ScaleMethod& method);

}  // namespace kvcalib
