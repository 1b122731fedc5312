// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/statistics/histograms.h"

namespace kvcalib {

// Searches for the range that int8 is to span, by a histogram of which the extremes are known.  All
// of it is plain double arithmetic in a fixed order.

// What part of either extreme is the end of a range, each at least kLeastFraction and at most 1.
struct Fractions {
  double low = 1, high = 1;

  bool operator==(const Fractions&) const = default;
};
inline constexpr int kFractionSteps = 128;
inline constexpr double kLeastFraction = 1.0 / kFractionSteps;

// What int8 makes of the values of a histogram, in squared widths of a bin: with the step s = (high
// - low) / 255 a value between low - s and high costs s^2 / 12, one beyond the square of its
// distance from the last code, low - s / 2 or high - s / 2.  A bin's mass lies evenly in it.
class RangeError {
 public:
  explicit RangeError(const Histogram& histogram);

  // Of the range [range.low, range.high].
  double of(const Extremes& range) const;
  // The part of it that is of values beyond.
  double beyond(const Extremes& range) const;

 private:
  // Of whole bins, about 0.
  struct Moments {
    double mass = 0, first = 0, second = 0;
    Moments plus(double mass_of_bin, double middle) const;
  };
  struct Tail {
    double mass = 0, error = 0;
  };
  // A range in widths of a bin.
  struct Range {
    double low, high, step;
  };
  Range in_widths(const Extremes& range) const;
  Tail above(double end, double code) const;
  Tail below(double end, double code) const;

  const Histogram& histogram_;
  std::vector<Moments> above_, below_;  // of bins [i, ...) and [..., i)
};

// The fractions i / 128 and j / 128 whose range has the least RangeError; of equals the largest
// i, then the largest j.
Fractions least_error(const Histogram& histogram, const Extremes& extremes);

// Of the mass, (100 - percent) / 200 is below the range, and as much above it.
Fractions central_share(const Histogram& histogram, const Extremes& extremes, double percent);

// One fraction i / 128 for both ends: the least Kullback-Leibler divergence between the histogram
// with what is beyond the range put into the range's outermost bins, and the histogram within it
// through 255 levels: a level's mass is spread evenly over those of its bins that have any.  Of
// equals the largest i; a range has 256 bins at least, or is the whole, and mass in its outermost
// bins where there is any beyond them.  Source: NVIDIA, "8-bit Inference with TensorRT" (GTC 2017),
// there of magnitudes.
Fractions least_divergence(const Histogram& histogram, const Extremes& extremes);

}  // namespace kvcalib
