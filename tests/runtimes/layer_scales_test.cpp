// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/layer_scales.h"

#include <gtest/gtest.h>

#include "tests/runtimes/exporter_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;

TEST(LayerScales, AreTheLargestMagnitudeOverTheLargestCode) {
  const KvStatistics statistics = exported_statistics().statistics;
  const ScaleTable layers = scales_by_layer(statistics, kLargestFloat8);
  const ScaleTable heads = scales_by_head(statistics, kLargestInt8);
  ASSERT_EQ(layers.size(), 3u);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    const LayerScales& of_layer = layers[static_cast<size_t>(layer)];
    const int64_t widest = (layer + 1) * kChannels - 1;
    EXPECT_EQ(of_layer.keys, (std::vector<float>{key_largest(widest) / 448.0f}));
    EXPECT_EQ(of_layer.values, (std::vector<float>{value_largest(widest) / 448.0f}));
    for (int64_t head = 0; head < kHeads; ++head) {
      const int64_t last = layer * kChannels + (head + 1) * kWidth - 1;
      EXPECT_EQ(heads[static_cast<size_t>(layer)].keys[static_cast<size_t>(head)],
                key_largest(last) / 127.0f);
    }
  }
}

TEST(LayerScales, OfChannelsOfKStandInHalves) {
  const ScaleTable table = scales_by_channel(exported_statistics().statistics, kLargestInt8);
  const int64_t layer = 2, head = 1, first = layer * kChannels + head * kWidth;
  for (int64_t j = 0; j < kWidth / 2; ++j) {
    const auto at = static_cast<size_t>(head * kWidth + j);
    EXPECT_EQ(table[2].keys[at], key_largest(first + 2 * j) / 127.0f);
    EXPECT_EQ(table[2].keys[at + kWidth / 2], key_largest(first + 2 * j + 1) / 127.0f);
  }
  for (int64_t channel = 0; channel < kWidth; ++channel)
    EXPECT_EQ(table[2].values[static_cast<size_t>(head * kWidth + channel)],
              value_largest(first + channel) / 127.0f);
  EXPECT_EQ(pairs_of_halves(halves_of_pairs(table[0].keys, kWidth), kWidth), table[0].keys);
}

TEST(LayerScales, OfRanksAreTheLargerOfKAndV) {
  StatisticsFile file = exported_statistics();
  file.statistics.values.maximum[7] = 500.0f;  // layer 0, head 0
  const ScaleTable two = shared_scales_by_rank(file.statistics, 2, kLargestInt8);
  EXPECT_EQ(two[0].keys, (std::vector<float>{500.0f / 127.0f, key_largest(63) / 127.0f}));
  EXPECT_TRUE(two[0].values.empty());
  const ScaleTable eight = shared_scales_by_rank(file.statistics, 8, kLargestInt8);
  EXPECT_EQ(eight[0].keys,
            (std::vector<float>{500.0f / 127.0f, 500.0f / 127.0f, key_largest(31) / 127.0f,
                                key_largest(31) / 127.0f, key_largest(47) / 127.0f,
                                key_largest(47) / 127.0f, key_largest(63) / 127.0f,
                                key_largest(63) / 127.0f}));
  EXPECT_HOLDS("--serving-tp 3: the model has 4 kv heads",
               message_of([&] { shared_scales_by_rank(file.statistics, 3, kLargestInt8); }));
}

TEST(LayerScales, AreNeverZero) {
  StatisticsFile file = exported_statistics();
  for (auto* values : {&file.statistics.keys.minimum, &file.statistics.keys.maximum})
    values->assign(values->size(), 0.0f);
  EXPECT_EQ(scales_by_layer(file.statistics, kLargestFloat8)[1].keys,
            (std::vector<float>{0x1p-24f}));
}

}  // namespace
}  // namespace kvcalib
