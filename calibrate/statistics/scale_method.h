// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/statistics/kv_statistics.h"

namespace kvcalib {

// Scale and zero of K or of V.
struct TensorScale {
  float scale = 1.0f;
  float zero = 0.0f;

  bool operator==(const TensorScale&) const = default;
};

// Below it a step is written as this: the smallest step of fp16, 2^-24.
inline constexpr float kSmallestScale = 0x1p-24f;

// How scales are made of statistics: the name of a row of the table in scale_method.cpp, and the
// parameters that it takes.  A value that is delivered with the scales (summary.json: "method") and
// read back by what verifies them.
//
// A new method is one row and its function.  Every operation of those that are there is one IEEE
// fp32 operation, rounded to nearest even, in this order:
//   low        = min(0, smallest minimum), high = max(0, largest maximum)
//   asymmetric   scale = (high - low) / 255.0f        zero = (high + low) * 0.5f
//   symmetric    scale = max(-low, high) / 127.0f     zero = 0.0f
//   last         scale = max(scale, 2^-24)
// minmax-margin and symmetric-margin first widen low and high by the factor `margin`, rounded to
// fp32, for text that spans more than what was calibrated.
// Source: LMDeploy v0.3.0 kv_qparams.py, which computes in fp16 and neither widens nor clamps.
//
// These are asymmetric of parts of low and high, the fractions that the histograms of the kv heads
// tell; of their product with low and high, in double, the end is rounded to fp32 once:
//   percentile    central_share of the counts: `p` percent of all values lie within
//   mse           least_error of the counts
//   entropy       least_divergence of the counts
//   importance    least_error of the importance, times `margin`, but never beyond low and high
//   sinks-apart   what the extremes without the first `tokens` tokens of each window are of those
//                 with them (of the histograms' windows), at least 1 / 128
// (calibrate/statistics/range_search.h).  A fraction is of the extremes that the histograms saw:
// where low and high are wider, since more windows were seen, they are clipped in proportion.
struct ScaleMethod {
  std::string name;
  std::map<std::string, double> parameters;

  static const ScaleMethod kAsymmetric, kSymmetric;

  // All methods of the table, with the parameters that they have unless told others.
  static std::vector<ScaleMethod> all();

  // "NAME" or "NAME:PARAMETER=NUMBER,..."; parse() takes what text() gives.  Throws Error for
  // another form or a number out of its bounds, and naming those known for a method or parameter
  // that the table does not have.
  static ScaleMethod parse(std::string_view text);
  std::string text() const;

  // These throw Error where the table does not have the method; the first also where the method
  // needs histograms and the channels have none.
  TensorScale scale_of(const ChannelStatistics& channels) const;
  bool needs_histograms() const;
  // Zero is always 0: all that files without room for it can hold.
  bool is_symmetric() const;

  bool operator==(const ScaleMethod&) const = default;
};

}  // namespace kvcalib
