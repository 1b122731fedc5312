// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/estimate.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

namespace kvcalib {
namespace {

TEST(Estimate, ClustersOfOneValueGiveTheDeviationOfTheMean) {
  const std::array<ClusterSum, 4> values = {{{1, 1}, {2, 1}, {4, 1}, {5, 1}}};
  const Estimate mean = clustered_mean(values);
  EXPECT_DOUBLE_EQ(mean.value, 3);
  EXPECT_DOUBLE_EQ(mean.error, std::sqrt(10.0 / 3 / 4));  // sample variance 10 / 3
}

TEST(Estimate, ValuesOfAClusterCountTogether) {
  // Values 1, 1 | 4 | 2, 2, 2: mean 2, residuals -2, 2, 0.
  const std::array<ClusterSum, 3> clusters = {{{2, 2}, {4, 1}, {6, 3}}};
  const Estimate mean = clustered_mean(clusters);
  EXPECT_DOUBLE_EQ(mean.value, 2);
  EXPECT_DOUBLE_EQ(mean.error, std::sqrt(3.0 / 2 * 8) / 6);
}

TEST(Estimate, ErrorOfOneClusterIsUnknown) {
  const std::array<ClusterSum, 3> clusters = {{{0, 0}, {6, 2}, {0, 0}}};
  const Estimate mean = clustered_mean(clusters);
  EXPECT_EQ(mean.value, 3);
  EXPECT_TRUE(std::isnan(mean.error));
}

TEST(Estimate, NothingIsKnownOfNothing) {
  const Estimate mean = clustered_mean({});
  EXPECT_TRUE(std::isnan(mean.value));
  EXPECT_TRUE(std::isnan(mean.error));
}

TEST(Estimate, OfZerosIsZeroToTheBit) {
  const std::vector<ClusterSum> zeros(5, {0, 7});
  EXPECT_EQ(clustered_mean(zeros), (Estimate{0, 0}));
}

TEST(Estimate, ScaledKeepsTheErrorPositive) {
  EXPECT_EQ(scaled({2, 0.5}, -100), (Estimate{-200, 50}));
}

}  // namespace
}  // namespace kvcalib
