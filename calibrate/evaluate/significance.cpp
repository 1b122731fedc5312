// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/significance.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace kvcalib {
namespace {

// C(n, k) / 2^n, halved as soon as it can be: large n neither overflow nor come to 0 on the way.
double binomial_half(int64_t n, int64_t k) {
  double value = 1;
  int64_t halvings = n;
  for (int64_t i = 1; i <= k; ++i) {
    value *= static_cast<double>(n - k + i) / static_cast<double>(i);
    for (; value > 1 && halvings > 0; --halvings) value /= 2;
  }
  return std::ldexp(value, -static_cast<int>(std::min<int64_t>(halvings, 100000)));
}

}  // namespace

double sign_test(int64_t lost, int64_t gained) {
  const int64_t flips = lost + gained;
  if (flips == 0 || lost == gained) return 1;
  const int64_t fewer = std::min(lost, gained);
  double term = binomial_half(flips, fewer), tail = 0;
  for (int64_t k = fewer; k >= 0 && term > 0; --k) {
    tail += term;
    term *= static_cast<double>(k) / static_cast<double>(flips - k + 1);
  }
  return std::min(1.0, 2 * tail);
}

double smallest_significant_difference(int64_t items, int64_t flips) {
  int64_t fewest = 1;  // flips, all of them to one side
  while (sign_test(0, fewest) >= kSignificant) ++fewest;
  if (items < fewest) return kUnknown;
  const int64_t flipped = std::clamp(flips, fewest, items);
  int64_t below = 0, enough = flipped / 2;  // pairs that go to one side instead of one each
  while (below < enough) {
    const int64_t middle = below + (enough - below) / 2;
    if (sign_test(flipped / 2 - middle, flipped - flipped / 2 + middle) < kSignificant)
      enough = middle;
    else
      below = middle + 1;
  }
  return static_cast<double>(flipped % 2 + 2 * enough) / static_cast<double>(items);
}

std::vector<double> holm(std::span<const double> probabilities) {
  std::vector<size_t> order(probabilities.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return probabilities[a] < probabilities[b]; });
  std::vector<double> corrected(probabilities.size());
  double largest = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const auto tests = static_cast<double>(order.size() - i);
    largest = std::max(largest, std::min(1.0, tests * probabilities[order[i]]));
    corrected[order[i]] = largest;
  }
  return corrected;
}

double student_test(const Estimate& estimate, int64_t clusters) {
  if (!std::isfinite(estimate.value) || !std::isfinite(estimate.error) || clusters < 2)
    return kUnknown;
  if (estimate.value == 0) return 1;
  if (estimate.error == 0) return 0;
  const int64_t degrees = clusters - 1;
  const double angle = std::atan(std::abs(estimate.value) / estimate.error /
                                 std::sqrt(static_cast<double>(degrees)));
  const double cosine = std::cos(angle);
  const bool is_odd = degrees % 2 != 0;
  double term = is_odd ? cosine : 1, sum = 0;
  for (int64_t k = is_odd ? 1 : 0; k <= degrees - 2; k += 2) {
    sum += term;
    term *= static_cast<double>(k + 1) / static_cast<double>(k + 2) * cosine * cosine;
  }
  const double within =
      is_odd ? 2 / std::numbers::pi * (angle + std::sin(angle) * sum) : std::sin(angle) * sum;
  return std::max(0.0, 1 - within);
}

}  // namespace kvcalib
