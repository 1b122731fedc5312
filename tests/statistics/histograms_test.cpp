// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/histograms.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace kvcalib {
namespace {

constexpr size_t kBins = kHistogramBins;

// The histogram of values as it is documented: bins of the smallest 2^k that holds all.
TensorHistograms histogram_of(const std::vector<float>& values) {
  TensorHistograms result;
  result.counts.resize(kBins);
  result.importance.resize(kBins);
  float low = 0, high = 0;
  for (const float value : values) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  for (int64_t n = 0; n <= kMostLeftOut; ++n)
    result.extremes.insert(result.extremes.end(), {low, high});
  const double width = half_span({low, high}) / 512;
  for (const float value : values) {
    const auto bin = static_cast<size_t>(std::floor(value / width) + 512);
    result.counts.at(bin) += 1;
    result.importance.at(bin) += 3;
  }
  return result;
}

TensorHistograms heads_of(const std::vector<TensorHistograms>& heads) {
  TensorHistograms result;
  for (const TensorHistograms& head : heads) {
    result.counts.insert(result.counts.end(), head.counts.begin(), head.counts.end());
    result.importance.insert(result.importance.end(), head.importance.begin(),
                             head.importance.end());
    result.extremes.insert(result.extremes.end(), head.extremes.begin(), head.extremes.end());
  }
  return result;
}

std::vector<float> random_values(float magnitude, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> place(-magnitude, magnitude / 3);
  std::vector<float> values(500);
  for (float& value : values) value = place(random);
  return values;
}

TEST(Histograms, HaveBinsOfTheSmallestPowerOfTwoThatHoldsAll) {
  EXPECT_EQ(half_span({-3.9, 2}), 4);
  EXPECT_EQ(half_span({-4, 2}), 8);  // the upper end is no bin's, so neither is the lower one
  EXPECT_EQ(half_span({0, 0.51}), 1);
  EXPECT_EQ(half_span({0, 0}), std::ldexp(1.0, kLeastExponent));
  EXPECT_EQ(half_span({-1e-9, 0}), std::ldexp(1.0, kLeastExponent));
}

TEST(Histograms, OfSeveralHeadsAreThatOfAllTheirValues) {
  const std::vector<float> small = random_values(0.3F, 1), large = random_values(9, 2);
  const std::vector<float> tiny = random_values(1e-7F, 3);
  std::vector<float> all = small;
  all.insert(all.end(), large.begin(), large.end());
  all.insert(all.end(), tiny.begin(), tiny.end());
  const TensorHistograms heads =
      heads_of({histogram_of(small), histogram_of(large), histogram_of(tiny)});
  const TensorHistograms expected = histogram_of(all);
  const Histogram counts = merged(heads.heads(0, 3), &HeadHistograms::counts);
  const Histogram importance = merged(heads.heads(0, 3), &HeadHistograms::importance);
  EXPECT_EQ(counts.width, 16.0 / 512);
  for (size_t bin = 0; bin < kBins; ++bin) {
    EXPECT_EQ(counts.mass[bin], expected.counts[bin]) << bin;
    EXPECT_EQ(importance.mass[bin], expected.importance[bin]) << bin;
  }
}

TEST(Histograms, AreLookedAtByHead) {
  const TensorHistograms heads =
      heads_of({histogram_of({-1, 2}), histogram_of({-5, 1}), histogram_of({0, 7})});
  const Extremes last = extremes_of(heads.heads(1, 2));
  EXPECT_EQ(last.low, -5);
  EXPECT_EQ(last.high, 7);
  EXPECT_EQ(merged(heads.heads(0, 1), &HeadHistograms::counts).width, 4.0 / 512);
  EXPECT_TRUE(TensorHistograms().heads(3, 5).empty());
}

TEST(Histograms, TellTheExtremesWithoutTheFirstTokens) {
  TensorHistograms heads = heads_of({histogram_of({-1, 2}), histogram_of({-5, 1})});
  heads.extremes[2 * (kMostLeftOut + 1) + 2 * 3] = -0.5F;  // of head 1 without three tokens
  EXPECT_EQ(extremes_of(heads.heads(0, 2), 3).low, -1);
  EXPECT_EQ(extremes_of(heads.heads(0, 2), 2).low, -5);
  EXPECT_EQ(extremes_of(heads.heads(0, 2), 3).high, 2);
}

}  // namespace
}  // namespace kvcalib
