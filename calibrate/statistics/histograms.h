// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kvcalib {

// Bins of a histogram of K or V: [-2^k, 2^k) in equal parts, each with its lower end, for the
// smallest k >= kLeastExponent that holds all values.  So the histogram of a larger k is that of a
// smaller one with neighbours added up, exactly.
inline constexpr int64_t kHistogramBins = 1024;
inline constexpr int kLeastExponent = -14;

// The first tokens of a window that the extremes may leave out are at most as many.
inline constexpr int64_t kMostLeftOut = 8;

// A look at the histograms of neighbouring kv heads of K or V, or at none.
struct HeadHistograms {
  std::span<const float> counts, importance, extremes;

  bool empty() const { return extremes.empty(); }
};

// How the values of K or V are spread in every kv head, over some windows of a calibration.
struct TensorHistograms {
  // How many values are in each bin, and what they weigh together by their importance
  // (calibrate/engine/importance.h; each window's weights add up to 2^52 in a layer).  [layers,
  // kv_heads, kHistogramBins] row-major.
  std::vector<float> counts, importance;
  // The lowest value, or 0, and the highest, or 0, without the first n tokens of each window, for n
  // = 0 .. kMostLeftOut; a window's last token always counts.  [layers, kv_heads, kMostLeftOut + 1,
  // 2] row-major.
  std::vector<float> extremes;

  bool empty() const { return extremes.empty(); }
  HeadHistograms heads(size_t first, size_t count) const;

  bool operator==(const TensorHistograms&) const = default;
};

// What some values span; it holds 0.
struct Extremes {
  double low = 0, high = 0;
};

// Of all heads together.
Extremes extremes_of(const HeadHistograms& heads, int64_t left_out = 0);

// 2^k of the bins of a kv head with these extremes.
double half_span(const Extremes& extremes);

// One histogram of several heads, kHistogramBins bins over [-512, 512) widths.
struct Histogram {
  double width = 0;
  std::vector<double> mass;
};

// Of the heads' counts or of their importance, by the bins of the head that reaches farthest; head
// after head, bin after bin.
Histogram merged(const HeadHistograms& heads, std::span<const float> HeadHistograms::*mass);

}  // namespace kvcalib
