// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/cache_scales.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

// [2 layers, 4 kv heads, 2 channels]: with s = 1 + 4 layer + head, K in [-s, 0.5] and [1, 2 s], V
// in
// [-s / 2, s / 4] and [-0.25, 0].
KvStatistics example() {
  KvStatistics statistics(2, 4, 2);
  for (size_t group = 0; group < 8; ++group) {
    const auto size = static_cast<float>(group + 1);
    statistics.keys.minimum[2 * group] = -size;
    statistics.keys.maximum[2 * group] = 0.5f;
    statistics.keys.minimum[2 * group + 1] = 1.0f;
    statistics.keys.maximum[2 * group + 1] = 2 * size;
    statistics.values.minimum[2 * group] = -size / 2;
    statistics.values.maximum[2 * group] = size / 4;
    statistics.values.minimum[2 * group + 1] = -0.25f;
    statistics.values.maximum[2 * group + 1] = 0.0f;
  }
  return statistics;
}

ModelConfig shape_of(const KvStatistics& statistics) {
  ModelConfig config;
  config.layers = statistics.layers;
  config.kv_heads = statistics.kv_heads;
  config.head_dim = statistics.head_dim;
  return config;
}

TEST(ScalesOfRanks, AreThoseOfTheRankThatServesTheHead) {
  const KvStatistics statistics = example();
  const std::vector<KvScale> scales = compute_scales(statistics, 2, ScaleMethod::kAsymmetric);
  const CacheScales spread = scales_of_ranks(scales, 2, shape_of(statistics));
  ASSERT_EQ(spread.keys.scale.size(), 16u);
  for (size_t layer = 0; layer < 2; ++layer) {
    for (size_t channel = 0; channel < 8; ++channel) {  // of its 4 heads
      const KvScale& expected = scales[layer * 2 + channel / 2 * 2 / 4];
      const size_t at = layer * 8 + channel;
      EXPECT_EQ((TensorScale{spread.keys.scale[at], spread.keys.zero[at]}), expected.key());
      EXPECT_EQ((TensorScale{spread.values.scale[at], spread.values.zero[at]}), expected.value());
    }
  }
}

TEST(ScalesOfRanks, RefuseScalesOfAnotherModel) {
  const ModelConfig config = shape_of(example());
  EXPECT_HOLDS("3 serving ranks: the model has 4 kv heads",
               message_of([&] { scales_of_ranks(std::vector<KvScale>(6), 3, config); }));
  EXPECT_HOLDS("0 serving ranks", message_of([&] { scales_of_ranks({}, 0, config); }));
  EXPECT_HOLDS("3 scales of layers and ranks, expected 2 layers times 2 ranks",
               message_of([&] { scales_of_ranks(std::vector<KvScale>(3), 2, config); }));
}

TEST(ScalesOfHeads, AreWhatEveryHeadWouldGetAsARankOfItsOwn) {
  const KvStatistics statistics = example();
  const CacheScales found = scales_of_heads(statistics);
  const CacheScales expected = scales_of_ranks(
      compute_scales(statistics, 4, ScaleMethod::kAsymmetric), 4, shape_of(statistics));
  EXPECT_EQ(found.keys.scale, expected.keys.scale);
  EXPECT_EQ(found.keys.zero, expected.keys.zero);
  EXPECT_EQ(found.values.scale, expected.values.scale);
  EXPECT_EQ(found.values.zero, expected.values.zero);
}

TEST(ScalesOfChannels, AreOfEachChannelsRangeWidenedToHoldZero) {
  const CacheScales found = scales_of_channels(example());
  ASSERT_EQ(found.keys.scale.size(), 16u);
  EXPECT_EQ(found.keys.scale[6], 4.5f / 255.0f);  // [-4, 0.5]
  EXPECT_EQ(found.keys.zero[6], -1.75f);
  EXPECT_EQ(found.keys.scale[7], 8.0f / 255.0f);  // [1, 8] and 0
  EXPECT_EQ(found.keys.zero[7], 4.0f);
  EXPECT_EQ(found.values.scale[15], 0.25f / 255.0f);
  EXPECT_EQ(found.values.zero[15], -0.125f);
}

TEST(Float8Scales, BringALayersLargestNumberToTheLargestOfE4M3) {
  const CacheScales found = float8_scales(example());
  EXPECT_EQ(found.keys.scale, [] {
    std::vector<float> expected(8, 8.0f / 448.0f);
    expected.insert(expected.end(), 8, 16.0f / 448.0f);
    return expected;
  }());
  EXPECT_EQ(found.values.scale[0], 2.0f / 448.0f);  // -4 / 2
  EXPECT_EQ(found.values.scale[8], 4.0f / 448.0f);
  EXPECT_TRUE(found.keys.zero.empty() && found.values.zero.empty());
}

TEST(ScalesOfAllKinds, AreNeverBelowTheSmallestStep) {
  KvStatistics zeros(1, 1, 2);
  for (TensorStatistics* tensor : {&zeros.keys, &zeros.values}) {
    tensor->minimum.assign(2, 0.0f);
    tensor->maximum.assign(2, 0.0f);
  }
  for (const CacheScales& scales :
       {scales_of_heads(zeros), scales_of_channels(zeros), float8_scales(zeros)}) {
    EXPECT_EQ(scales.keys.scale, std::vector<float>(2, kSmallestScale));
    EXPECT_EQ(scales.values.scale, std::vector<float>(2, kSmallestScale));
  }
}

TEST(ScalesOfAllKinds, RefuseRangesThatAreNotFiniteOrTooWide) {
  for (const auto& build : {scales_of_heads, scales_of_channels, float8_scales}) {
    KvStatistics broken = example();
    broken.values.maximum[13] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_HOLDS("layer 1, V, head 2, channel 1: the range is [-0.25, nan], expected finite",
                 message_of([&] { build(broken); }));
    EXPECT_HOLDS("expected finite", message_of([&] { build(KvStatistics(1, 1, 1)); }));
  }
  for (const auto& build : {scales_of_heads, scales_of_channels}) {
    KvStatistics wide = example();
    wide.keys.minimum[4] = -3e38f;
    wide.keys.maximum[4] = 3e38f;
    EXPECT_HOLDS("layer 0, K, head 2, channel 0: the range is wider than fp32 can hold",
                 message_of([&] { build(wide); }));
  }
}

}  // namespace
}  // namespace kvcalib
