// SPDX-License-Identifier: Apache-2.0
#include "calibrate/equalise/factors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace kvcalib {
namespace {

TEST(Factors, RangesAreTheLargestMagnitudesOfPairsAndChannels) {
  KvStatistics statistics(2, 1, 4);
  statistics.keys.minimum = {0, 0, 0, 0, -5, 1, 0, -2};
  statistics.keys.maximum = {9, 9, 9, 9, 3, 4, 1, 7};
  statistics.values.minimum = {0, 0, 0, 0, -5, 1, 0, -2};
  statistics.values.maximum = {9, 9, 9, 9, 3, 4, 1, 7};
  const LayerRanges ranges = ranges_of(statistics, 1);
  EXPECT_EQ(ranges.keys, (std::vector<float>{5, 7}));
  EXPECT_EQ(ranges.values, (std::vector<float>{5, 4, 1, 7}));
}

TEST(Factors, MakeRangesTheirGeometricMean) {
  const std::vector<double> factors = even_factors(std::vector<float>{1, 4, 16});
  ASSERT_EQ(factors.size(), 3u);
  EXPECT_NEAR(factors[0], 4.0, 1e-12);
  EXPECT_NEAR(factors[1], 1.0, 1e-12);
  EXPECT_NEAR(factors[2], 0.25, 1e-12);
}

TEST(Factors, LeaveARangeOfZeroAloneAndOutOfTheMean) {
  const std::vector<double> factors = even_factors(std::vector<float>{2, 0, 8});
  EXPECT_NEAR(factors[0], 2.0, 1e-12);
  EXPECT_EQ(factors[1], 1.0);
  EXPECT_NEAR(factors[2], 0.5, 1e-12);
  EXPECT_EQ(even_factors(std::vector<float>{0, 0}), (std::vector<double>{1, 1}));
}

TEST(Factors, HaveBounds) {
  std::vector<float> ranges(63, 1.0f);
  ranges.push_back(1e-6f);
  EXPECT_EQ(even_factors(ranges).back(), kLargestFactor);
  ranges.back() = 1e6f;
  EXPECT_EQ(even_factors(ranges).back(), 1.0 / kLargestFactor);
}

std::vector<int> exponents_of(const std::vector<float>& minimum, const std::vector<float>& maximum,
                              int64_t channels, int64_t together) {
  return even_exponents({minimum, maximum}, channels, together);
}

TEST(Factors, ExponentsKeepEachChannelWithinItsHeadsRange) {
  EXPECT_EQ(exponents_of({-8, -4.1f, -4, -3.9f, 0, -1e-9f, -1, -1, -1, -1, -0.5f, -0.4f},
                         {1, 0, .5f, .1f, 0, 0, 8, 8, 2, 1, 1, 1}, 6, 1),
            (std::vector<int>{0, 0, 1, 1, 0, kLargestExponent, 0, 0, 0, 0, 1, 1}));
}

TEST(Factors, ExponentsOfNeighboursAreTheSmallestOfThem) {
  EXPECT_EQ(exponents_of({-8, 0, -1, -2, -1, -1}, {4, 1, 1, 0, 2, .25f}, 6, 2),
            (std::vector<int>{0, 2, 1}));
  EXPECT_EQ(exponents_of({-8, 0, 0, 0}, {4, 1, 0, 0}, 4, 2), (std::vector<int>{0, 0}));
}

TEST(Factors, ExponentsAreTheLargestThatStayWithin) {
  std::vector<float> minimum, maximum;
  for (int i = 0; i < 200; ++i) {
    minimum.push_back(-static_cast<float>(std::exp(std::sin(i) * 4)));
    maximum.push_back(static_cast<float>(std::exp(std::cos(3 * i) * 4)));
  }
  const std::vector<int> exponents = exponents_of(minimum, maximum, 100, 1);
  for (size_t head = 0; head < 200; head += 100) {
    const auto at = static_cast<std::ptrdiff_t>(head);
    const float low = *std::min_element(minimum.begin() + at, minimum.begin() + at + 100);
    const float high = *std::max_element(maximum.begin() + at, maximum.begin() + at + 100);
    for (size_t i = head; i < head + 100; ++i) {
      const auto within = [&](int exponent) {
        return std::ldexp(minimum[i], exponent) >= low && std::ldexp(maximum[i], exponent) <= high;
      };
      EXPECT_TRUE(within(exponents[i]));
      EXPECT_TRUE(exponents[i] == kLargestExponent || !within(exponents[i] + 1));
    }
  }
}

TEST(Factors, HeadsCanShareThem) {
  EXPECT_EQ(largest_over_heads(std::vector<float>{1, 5, 3, 2, 2, 9}, 2),
            (std::vector<float>{3, 9, 3, 9, 3, 9}));
  EXPECT_EQ(smallest_over_heads(std::vector<int>{1, 5, 3, 2}, 2), (std::vector<int>{1, 2, 1, 2}));
}

TEST(Factors, MultiplyTheRangesOfTheirChannels) {
  KvStatistics statistics(2, 1, 4);
  for (const KvTensor& tensor : kKvTensors) {
    (statistics.*tensor.statistics).minimum = {-1, -2, -3, -4, -5, -6, -7, -8};
    (statistics.*tensor.statistics).maximum = {1, 2, 3, 4, 5, 6, 7, 8};
  }
  statistics.key_reach.assign(4 * kReachDirections, 3.0f);
  const std::vector<LayerFactors> layers{{{2, 1}, {1, 1, 1, 1}}, {{1, 0.5}, {1, 2, 4, 0.1}}};
  statistics.key_histograms.extremes = statistics.value_histograms.extremes = {-8, 8};
  const KvStatistics behind = multiplied(statistics, layers, WeightType::kFloat16);
  EXPECT_TRUE(behind.key_histograms.empty() && behind.value_histograms.empty());
  EXPECT_EQ(behind.keys.minimum, (std::vector<float>{-2, -4, -3, -4, -5, -6, -3.5f, -4}));
  EXPECT_EQ(behind.keys.maximum, (std::vector<float>{2, 4, 3, 4, 5, 6, 3.5f, 4}));
  EXPECT_EQ(behind.values.maximum,
            (std::vector<float>{1, 2, 3, 4, 5, 12, 28, 0x1.998p-1f}));  // 0.8 in fp16
  for (size_t i = 0; i < behind.key_reach.size(); ++i)
    EXPECT_EQ(behind.key_reach[i], (std::array{6.0f, 3.0f, 3.0f, 1.5f})[i / kReachDirections]);
}

}  // namespace
}  // namespace kvcalib
