// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/histograms.h"

#include <algorithm>
#include <cmath>

namespace kvcalib {
namespace {

constexpr size_t kBins = kHistogramBins;
constexpr size_t kExtremesOfHead = 2 * (kMostLeftOut + 1);

HeadHistograms head(const HeadHistograms& heads, size_t index) {
  return {heads.counts.subspan(index * kBins, kBins),
          heads.importance.subspan(index * kBins, kBins),
          heads.extremes.subspan(index * kExtremesOfHead, kExtremesOfHead)};
}

size_t count_of(const HeadHistograms& heads) { return heads.extremes.size() / kExtremesOfHead; }

}  // namespace

HeadHistograms TensorHistograms::heads(size_t first, size_t count) const {
  if (empty()) return {};
  const auto part = [&](const std::vector<float>& all, size_t width) {
    return std::span(all).subspan(first * width, count * width);
  };
  return {part(counts, kBins), part(importance, kBins), part(extremes, kExtremesOfHead)};
}

Extremes extremes_of(const HeadHistograms& heads, int64_t left_out) {
  Extremes result;
  for (size_t i = 0; i < count_of(heads); ++i) {
    const size_t place = i * kExtremesOfHead + 2 * static_cast<size_t>(left_out);
    result.low = std::min(result.low, static_cast<double>(heads.extremes[place]));
    result.high = std::max(result.high, static_cast<double>(heads.extremes[place + 1]));
  }
  return result;
}

double half_span(const Extremes& extremes) {
  const double farthest = std::max(-extremes.low, extremes.high);
  int exponent = kLeastExponent;
  if (farthest > 0) std::frexp(farthest, &exponent);
  return std::ldexp(1.0, std::max(exponent, kLeastExponent));
}

Histogram merged(const HeadHistograms& heads, std::span<const float> HeadHistograms::*mass) {
  const double span = half_span(extremes_of(heads));
  Histogram result{2 * span / static_cast<double>(kBins), std::vector<double>(kBins)};
  for (size_t i = 0; i < count_of(heads); ++i) {
    const HeadHistograms own = head(heads, i);
    // A wider one than all bins together is as good as any.
    const auto ratio = static_cast<int64_t>(
        std::min(span / half_span(extremes_of(own)), 2.0 * static_cast<double>(kBins)));
    for (int64_t bin = 0; bin < kHistogramBins; ++bin) {
      // Bins below 0 count down from it.
      const int64_t from_zero = bin - kHistogramBins / 2;
      const int64_t wide = from_zero >= 0 ? from_zero / ratio : -((-from_zero + ratio - 1) / ratio);
      result.mass[static_cast<size_t>(wide + kHistogramBins / 2)] +=
          static_cast<double>((own.*mass)[static_cast<size_t>(bin)]);
    }
  }
  return result;
}

}  // namespace kvcalib
