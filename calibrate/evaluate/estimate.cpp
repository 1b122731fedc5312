// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/estimate.h"

#include <cmath>
#include <vector>

namespace kvcalib {

Estimate scaled(const Estimate& estimate, double factor) {
  return {estimate.value * factor, estimate.error * std::abs(factor)};
}

double clustered_error(std::span<const double> residuals, int64_t count) {
  const auto clusters = static_cast<double>(residuals.size());
  if (residuals.size() < 2 || count < 1) return kUnknown;
  double squares = 0;
  for (const double residual : residuals) squares += residual * residual;
  return std::sqrt(clusters / (clusters - 1) * squares) / static_cast<double>(count);
}

Estimate clustered_mean(std::span<const ClusterSum> clusters) {
  double sum = 0;
  int64_t count = 0;
  for (const ClusterSum& cluster : clusters) {
    sum += cluster.sum;
    count += cluster.count;
  }
  if (count == 0) return {};
  const double mean = sum / static_cast<double>(count);
  std::vector<double> residuals;
  for (const ClusterSum& cluster : clusters)
    if (cluster.count > 0)
      residuals.push_back(cluster.sum - static_cast<double>(cluster.count) * mean);
  return {mean, clustered_error(residuals, count)};
}

}  // namespace kvcalib
