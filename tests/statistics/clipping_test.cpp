// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/clipping.h"

#include <gtest/gtest.h>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

// Two layers of a kv head with values about 0 and, in layer 1, some of K at 8 that weigh `far`.
KvStatistics statistics_with(float far) {
  KvStatistics statistics(2, 1, 1);
  for (const KvTensor& tensor : kKvTensors) {
    statistics.*tensor.statistics = {{-1, -1}, {8, 8}};
    TensorHistograms& histograms = statistics.*tensor.histograms;
    histograms.counts.assign(2 * kHistogramBins, 1);
    histograms.importance.assign(2 * kHistogramBins, 0);
    for (int i = 0; i < 2 * (kMostLeftOut + 1); ++i)
      histograms.extremes.insert(histograms.extremes.end(), {-1, 7.99F});
    for (const size_t layer : {size_t{0}, size_t{1}})
      histograms.importance[layer * kHistogramBins + kHistogramBins / 2] = 1000;
  }
  statistics.key_histograms.importance.back() = far;
  return statistics;
}

std::vector<KvScale> scales_to(float high) {
  const float scale = (high + 1) / 255, zero = (high - 1) / 2;
  return std::vector<KvScale>(2, {scale, zero, scale, zero});
}

TEST(ClippingWarnings, TellWhereTheTailIsWorthMoreThanTheSteps) {
  const ScaleMethod method = ScaleMethod::parse("mse");
  const KvStatistics far = statistics_with(100);
  const std::vector<std::string> warnings = clipping_warnings(far, 1, method, scales_to(4));
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_HOLDS("--method mse: clips values of K that attention reads", warnings.front());
  EXPECT_HOLDS("in 1 of 2 scales (layer 1, rank 0: ", warnings.front());
  EXPECT_TRUE(clipping_warnings(far, 1, method, scales_to(8)).empty());
  EXPECT_TRUE(clipping_warnings(statistics_with(0), 1, method, scales_to(4)).empty());
}

TEST(ClippingWarnings, SayNothingWithoutHistograms) {
  KvStatistics statistics = statistics_with(100);
  statistics.key_histograms = statistics.value_histograms = {};
  EXPECT_TRUE(clipping_warnings(statistics, 1, ScaleMethod::kAsymmetric, scales_to(0.5F)).empty());
}

}  // namespace
}  // namespace kvcalib
