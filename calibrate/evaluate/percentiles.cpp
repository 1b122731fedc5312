// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/percentiles.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "calibrate/evaluate/estimate.h"

namespace kvcalib {

std::vector<double> percentiles(std::vector<double> values, std::span<const double> percents) {
  const bool known = !values.empty() && std::all_of(values.begin(), values.end(), [](double value) {
    return std::isfinite(value);
  });
  if (!known) return std::vector<double>(percents.size(), kUnknown);
  std::sort(values.begin(), values.end());
  std::vector<double> found;
  for (const double percent : percents) {
    const double place = percent / 100 * static_cast<double>(values.size() - 1);
    const auto below = std::min(static_cast<size_t>(place), values.size() - 1);
    const size_t above = std::min(below + 1, values.size() - 1);
    const double share = place - static_cast<double>(below);
    found.push_back(values[below] + share * (values[above] - values[below]));
  }
  return found;
}

double median(std::vector<double> values) {
  return percentiles(std::move(values), std::array{50.0}).front();
}

}  // namespace kvcalib
