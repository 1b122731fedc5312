// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

namespace kvcalib {

// For each percentage, 0 .. 100: the value that so many of `values` do not exceed, interpolated
// linearly between neighbours in their order (numpy's default, and llama.cpp's).  kUnknown of no
// values, or when one of them is not finite.
std::vector<double> percentiles(std::vector<double> values, std::span<const double> percents);

// The percentile 50, under the same conditions.
double median(std::vector<double> values);

}  // namespace kvcalib
