// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/kv_scale.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

// [2 layers, 4 kv heads, 3 channels]; head h of layer L has K in [-(L+1)(h+1), 2(L+1)(h+1)] and V
// in [-(h+1)/8, (h+1)/16], at differing channels.
KvStatistics example() {
  KvStatistics statistics(2, 4, 3);
  for (int layer = 0; layer < 2; ++layer) {
    for (int head = 0; head < 4; ++head) {
      for (int channel = 0; channel < 3; ++channel) {
        const auto at = static_cast<size_t>((layer * 4 + head) * 3 + channel);
        const auto size = static_cast<float>((layer + 1) * (head + 1));
        statistics.keys.minimum[at] = channel == 0 ? -size : -0.25f;
        statistics.keys.maximum[at] = channel == 1 ? 2 * size : 0.25f;
        statistics.values.minimum[at] = channel == 2 ? -static_cast<float>(head + 1) / 8 : 0;
        statistics.values.maximum[at] = channel == 0 ? static_cast<float>(head + 1) / 16 : 0;
      }
    }
  }
  return statistics;
}

KvStatistics one(float key_low, float key_high, float value_low = 0, float value_high = 0) {
  KvStatistics statistics(1, 1, 1);
  statistics.keys.minimum = {key_low};
  statistics.keys.maximum = {key_high};
  statistics.values.minimum = {value_low};
  statistics.values.maximum = {value_high};
  return statistics;
}

KvScale scale_of(const KvStatistics& statistics, ScaleMethod method = ScaleMethod::kAsymmetric) {
  return compute_scales(statistics, 1, method).at(0);
}

TEST(KvScale, CoversTheHeadsOfEachServingRank) {
  const auto scales = compute_scales(example(), 2, ScaleMethod::kAsymmetric);
  ASSERT_EQ(scales.size(), 4u);
  // Layer 1, rank 0: heads 0 and 1, K in [-4, 8], V in [-0.25, 0.125].
  EXPECT_EQ(scales[2], (KvScale{12.0f / 255.0f, 2.0f, 0.375f / 255.0f, -0.0625f}));
  // Layer 0, rank 1: heads 2 and 3, K in [-4, 8], V in [-0.5, 0.25].
  EXPECT_EQ(scales[1], (KvScale{12.0f / 255.0f, 2.0f, 0.75f / 255.0f, -0.125f}));
}

TEST(KvScale, OfOneRankHoldsTheRangesOfAllRanks) {
  const auto whole = compute_scales(example(), 1, ScaleMethod::kAsymmetric);
  for (const int64_t ranks : {2, 4}) {
    const auto parts = compute_scales(example(), ranks, ScaleMethod::kAsymmetric);
    ASSERT_EQ(parts.size(), static_cast<size_t>(2 * ranks));
    for (size_t i = 0; i < parts.size(); ++i) {
      EXPECT_LE(parts[i].k_scale, whole[i / static_cast<size_t>(ranks)].k_scale);
    }
  }
}

TEST(KvScale, SymmetricIsTheLargestMagnitudeOver127) {
  const auto scales = compute_scales(example(), 4, ScaleMethod::kSymmetric);
  ASSERT_EQ(scales.size(), 8u);
  EXPECT_EQ(scales[3], (KvScale{8.0f / 127.0f, 0.0f, 0.5f / 127.0f, 0.0f}));
}

TEST(KvScale, WidensARangeThatDoesNotHoldZero) {
  EXPECT_EQ(scale_of(one(2, 6, -6, -2)), (KvScale{6.0f / 255.0f, 3.0f, 6.0f / 255.0f, -3.0f}));
}

TEST(KvScale, ClampsADegenerateRange) {
  const KvScale scale = scale_of(one(0, 0, -1e-9f, 1e-9f));
  EXPECT_EQ(scale, (KvScale{0x1p-24f, 0.0f, 0x1p-24f, 0.0f}));
  EXPECT_FALSE(std::signbit(scale_of(one(-0.0f, -0.0f)).k_zero));
  EXPECT_EQ(scale_of(one(0, 0), ScaleMethod::kSymmetric).v_scale, 0x1p-24f);
}

TEST(KvScale, IsComputedInSinglePrecision) {
  // In double precision the difference would round to another quotient.
  const float low = -0x1.fffffep-1f, high = 0x1.000002p24f;
  const float difference = high - low, sum = high + low;
  const KvScale scale = scale_of(one(low, high));
  EXPECT_EQ(scale.k_scale, difference / 255.0f);
  EXPECT_EQ(scale.k_zero, sum * 0.5f);
}

TEST(KvScale, RefusesRanksThatDoNotDivideTheHeads) {
  for (const int64_t ranks : {3, 8, 0, -1}) {
    EXPECT_HOLDS(concat(ranks, " serving ranks: the model has 4 kv heads, which do not divide"),
                 message_of([&] { compute_scales(example(), ranks, ScaleMethod::kAsymmetric); }));
  }
}

TEST(KvScale, RefusesRangesThatAreNotFinite) {
  EXPECT_HOLDS("layer 0, rank 0, K: a channel's range is [inf, -inf]", message_of([] {
                 compute_scales(KvStatistics(1, 1, 1), 1, ScaleMethod::kAsymmetric);
               }));
  constexpr float kLargest = std::numeric_limits<float>::max();
  EXPECT_HOLDS("layer 0, rank 0: the range of V is wider than fp32 can hold",
               message_of([] { scale_of(one(0, 1, -kLargest, kLargest)); }));
}

}  // namespace
}  // namespace kvcalib
