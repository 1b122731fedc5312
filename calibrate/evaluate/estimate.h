// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <span>

namespace kvcalib {

// What cannot be known of so few values.
inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// A figure and its standard error: kUnknown the error with fewer than two clusters, both of
// nothing.
struct Estimate {
  double value = kUnknown, error = kUnknown;

  bool operator==(const Estimate&) const = default;
};

// Both times a factor.
Estimate scaled(const Estimate& estimate, double factor);

// Values that depend on each other (tokens of a window, questions on a passage): their sum.
struct ClusterSum {
  double sum = 0;
  int64_t count = 0;
};

// sqrt(G / (G - 1) sum_g r_g^2) / n of the G clusters' sums of residuals, n values in all
// (Liang and Zeger 1986, as for any mean); with clusters of one value each it is the sample
// deviation over sqrt(n).
double clustered_error(std::span<const double> residuals, int64_t count);

// Mean of all values with the error above; clusters without values are none.
Estimate clustered_mean(std::span<const ClusterSum> clusters);

}  // namespace kvcalib
