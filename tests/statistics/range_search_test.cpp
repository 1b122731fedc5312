// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/range_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvcalib {
namespace {

// Bins of width 1 about 0, with the mass of some.
Histogram histogram(std::initializer_list<std::pair<int, double>> bins) {
  Histogram result{1.0, std::vector<double>(kHistogramBins)};
  for (const auto& [bin, mass] : bins) result.mass[static_cast<size_t>(bin + 512)] = mass;
  return result;
}

// A bell with a few far values.
Histogram bell(double outliers) {
  Histogram result{1.0, std::vector<double>(kHistogramBins)};
  for (int bin = -512; bin < 512; ++bin)
    result.mass[static_cast<size_t>(bin + 512)] = std::floor(1e6 * std::exp(-bin * bin / 5000.0));
  result.mass[1000] = outliers;
  return result;
}

// By many points in every bin.
double error_by_points(const Histogram& histogram, const Extremes& range) {
  constexpr int kPoints = 400;
  const double step = (range.high - range.low) / 255;
  double sum = 0;
  for (size_t bin = 0; bin < histogram.mass.size(); ++bin) {
    for (int point = 0; point < kPoints; ++point) {
      const double x = (static_cast<double>(bin) - 512 + (point + 0.5) / kPoints) * histogram.width;
      const double beyond = x > range.high         ? x - (range.high - step / 2)
                            : x < range.low - step ? x - (range.low - step / 2)
                                                   : step / std::sqrt(12.0);
      sum += histogram.mass[bin] / kPoints * beyond * beyond;
    }
  }
  return sum / (histogram.width * histogram.width);
}

TEST(RangeError, IsWhatInt8MakesOfEveryValue) {
  Histogram spread = bell(300);
  spread.width = 0.25;
  for (const Extremes& range : {Extremes{-128, 128}, Extremes{-30, 50.3}, Extremes{-2.2, 120},
                                Extremes{-64, 0}, Extremes{-200, 300}}) {
    const double expected = error_by_points(spread, range);
    EXPECT_NEAR(RangeError(spread).of(range), expected, 2e-3 * expected);
  }
}

TEST(RangeError, TellsWhatLiesBeyond) {
  const Histogram two = histogram({{0, 10}, {99, 2}});
  // Codes end at 51 - step / 2; the far bin's middle is at 99.5.
  const double code = 51 - 51.0 / 255 / 2;
  EXPECT_NEAR(RangeError(two).beyond({0, 51}), 2 * ((99.5 - code) * (99.5 - code) + 1.0 / 12),
              1e-9);
  EXPECT_EQ(RangeError(two).beyond({0, 100}), 0);
  EXPECT_EQ(RangeError(histogram({})).of({0, 0}), 0);
}

TEST(LeastError, IsTheLeastOfAllFractions) {
  const Histogram spread = bell(20);
  const Extremes extremes{-300, 488.9};
  const Fractions found = least_error(spread, extremes);
  const RangeError error(spread);
  double least = std::numeric_limits<double>::infinity();
  for (int i = 1; i <= 128; ++i)
    for (int j = 1; j <= 128; ++j)
      least = std::min(least, error.of({extremes.low * i / 128, extremes.high * j / 128}));
  EXPECT_NEAR(error.of({extremes.low * found.low, extremes.high * found.high}), least,
              1e-9 * least);
  EXPECT_LT(found.high, 1);
}

TEST(LeastError, KeepsTheRangeWhereClippingCosts) {
  EXPECT_EQ(least_error(bell(1e6), {-300, 488.9}).high, 1);
}

TEST(LeastError, OfEqualRangesTakesTheWidest) {
  EXPECT_EQ(least_error(histogram({}), {-3, 4}), (Fractions{1, 1}));
  EXPECT_EQ(least_error(bell(0), {0, 400}).low, 1);  // any part of 0
}

TEST(CentralShare, LeavesAsMuchOnEitherSide) {
  const Histogram flat = [] {
    Histogram result{0.5, std::vector<double>(kHistogramBins)};
    std::fill(result.mass.begin() + 312, result.mass.begin() + 712, 10.0);  // -100 to 100
    return result;
  }();
  const Fractions found = central_share(flat, {-100, 100}, 99);
  EXPECT_NEAR(found.low, 0.99, 1e-12);
  EXPECT_NEAR(found.high, 0.99, 1e-12);
  EXPECT_EQ(central_share(flat, {-100, 100}, 100), (Fractions{1, 1}));
}

TEST(CentralShare, StaysWithinTheExtremes) {
  EXPECT_EQ(central_share(histogram({{-1, 1}, {7, 1}}), {-0.25, 7.25}, 100), (Fractions{1, 1}));
  const Fractions one_sided = central_share(histogram({{4, 5}}), {0, 4.5}, 90);
  EXPECT_EQ(one_sided.low, 1);
  EXPECT_EQ(central_share(histogram({{4, 5}}), {-8, 4.5}, 90).low, kLeastFraction);
}

TEST(LeastDivergence, ClipsWhatIsRareAndKeepsWhatIsNot) {
  const Fractions rare = least_divergence(bell(1), {-489, 488.9});
  EXPECT_EQ(rare.low, rare.high);
  EXPECT_LT(rare.high, 1);
  EXPECT_EQ(least_divergence(bell(1e7), {-489, 488.9}), (Fractions{1, 1}));
  EXPECT_EQ(least_divergence(histogram({}), {0, 0}), (Fractions{1, 1}));
}

TEST(LeastDivergence, LeavesABinForEveryLevel) {
  EXPECT_GE(least_divergence(bell(0), {-489, 488.9}).high * (489 + 489) + 2, 256);
  EXPECT_EQ(least_divergence(bell(1), {-100, 100}), (Fractions{1, 1}));
}

}  // namespace
}  // namespace kvcalib
