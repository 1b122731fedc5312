// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/kv_statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// One layer, one head, one channel with these ranges.
KvStatistics one(float key_low, float key_high, float value_low, float value_high) {
  KvStatistics statistics(1, 1, 1);
  statistics.keys.minimum = {key_low};
  statistics.keys.maximum = {key_high};
  statistics.values.minimum = {value_low};
  statistics.values.maximum = {value_high};
  return statistics;
}

TEST(KvStatistics, BeginsWithEmptyRanges) {
  const KvStatistics statistics(2, 3, 4);
  EXPECT_EQ(statistics.keys.minimum, std::vector<float>(24, kInfinity));
  EXPECT_EQ(statistics.keys.maximum, std::vector<float>(24, -kInfinity));
  EXPECT_EQ(statistics.values.minimum, std::vector<float>(24, kInfinity));
  EXPECT_EQ(statistics.values.maximum, std::vector<float>(24, -kInfinity));
}

TEST(KvStatistics, RoundsToNearestEvenFp16) {
  // 2049 lies between 2048 and 2050, 2051 between 2050 and 2052; 2^-25 is half the smallest step.
  const KvStatistics rounded = one(-2051, 2049, 0x1p-25f, 0x1.8p-24f).rounded(WeightType::kFloat16);
  EXPECT_EQ(rounded.keys.minimum[0], -2052);
  EXPECT_EQ(rounded.keys.maximum[0], 2048);
  EXPECT_EQ(rounded.values.minimum[0], 0);
  EXPECT_EQ(rounded.values.maximum[0], 0x1p-23f);
}

TEST(KvStatistics, RoundsToNearestEvenBf16) {
  const KvStatistics rounded =
      one(-0x1.03p0f, 0x1.01p0f, -1e38f, 0x1p-133f).rounded(WeightType::kBFloat16);
  EXPECT_EQ(rounded.keys.minimum[0], -0x1.04p0f);
  EXPECT_EQ(rounded.keys.maximum[0], 0x1.0p0f);
  EXPECT_EQ(rounded.values.maximum[0], 0x1p-133f);
  EXPECT_NEAR(rounded.values.minimum[0], -1e38f, 1e38f / 256);
}

// The fp16 number of a bit pattern without sign, by the format's definition.
float half_of_bits(int bits) {
  const int exponent = bits >> 10, fraction = bits & 1023;
  return exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                       : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
}

TEST(KvStatistics, RoundsToTheNearestOfAllFp16Numbers) {
  std::vector<float> halves;
  for (int bits = 0; bits < 0x7C00; ++bits) halves.push_back(half_of_bits(bits));
  uint32_t state = 1;
  for (int i = 0; i < 100000; ++i) {
    state = state * 1664525u + 1013904223u;
    const float value =
        std::ldexp(static_cast<float>(state >> 8 | 1u << 23), static_cast<int>(state % 42) - 50);
    if (value >= 65504) continue;
    const auto above = std::upper_bound(halves.begin(), halves.end(), value);
    const double up = *above - value, down = value - *(above - 1);
    const bool above_is_even = (above - halves.begin()) % 2 == 0;
    const float expected = up < down || (up == down && above_is_even) ? *above : *(above - 1);
    const KvStatistics rounded = one(-value, value, 0, 0).rounded(WeightType::kFloat16);
    ASSERT_EQ(rounded.keys.maximum[0], expected) << value;
    ASSERT_EQ(rounded.keys.minimum[0], -expected) << value;
  }
}

TEST(KvStatistics, NamesLayerAndTensorOfWhatIsNotFinite) {
  EXPECT_HOLDS("layer 0, K, head 0, channel 0: the range is [-1, 65520]",
               message_of([] { one(-1, 65520, 0, 0).rounded(WeightType::kFloat16); }));
  EXPECT_EQ(one(-1, 65519, 0, 0).rounded(WeightType::kFloat16).keys.maximum[0], 65504);
  EXPECT_HOLDS("layer 0, V, head 0, channel 0: the range is [-inf, 0]",
               message_of([] { one(0, 0, -kInfinity, 0).rounded(WeightType::kBFloat16); }));
  EXPECT_HOLDS("K", message_of([] { one(0, std::nanf(""), 0, 0).rounded(WeightType::kFloat16); }));
  EXPECT_HOLDS("layer 0, K, head 0, channel 0: the range is [inf, -inf]",
               message_of([] { KvStatistics(2, 2, 2).rounded(WeightType::kFloat16); }));
  KvStatistics statistics(2, 3, 4);
  for (auto* values : {&statistics.keys.minimum, &statistics.keys.maximum,
                       &statistics.values.minimum, &statistics.values.maximum}) {
    values->assign(24, 0.0f);
  }
  statistics.values.maximum[12 + 2 * 4 + 3] = kInfinity;
  EXPECT_HOLDS("layer 1, V, head 2, channel 3:",
               message_of([&] { statistics.rounded(WeightType::kFloat16); }));
}

}  // namespace
}  // namespace kvcalib
