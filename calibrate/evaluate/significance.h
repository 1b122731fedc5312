// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "calibrate/evaluate/estimate.h"

namespace kvcalib {

inline constexpr double kSignificant = 0.05;

// Exact two-sided sign test of `lost` against `gained` (McNemar's, exact): how probable a split at
// least as uneven is when either is as likely.  min(1, 2 P[Binomial(lost + gained, 1/2) <= the
// fewer]); 1 when nothing was lost or gained.
double sign_test(int64_t lost, int64_t gained);

// The smallest difference of accuracy, as a share of `items`, that the sign test calls significant
// when as many answers flip as did (at least as many as it takes); kUnknown when `items` are too
// few for any.
double smallest_significant_difference(int64_t items, int64_t flips);

// Holm's correction of several tests made together, in their order: below 0.05 are what may be
// called findings with an error of 5 % over all of them (Holm 1979).
std::vector<double> holm(std::span<const double> probabilities);

// Two-sided test of Student against 0 with clusters - 1 degrees of freedom (its distribution:
// Abramowitz and Stegun 26.7.3 and 26.7.4).  1 of exact zeros; kUnknown without a finite error.
double student_test(const Estimate& estimate, int64_t clusters);

}  // namespace kvcalib
