// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/kv_scale.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "tests/message_of.h"
#include "tests/statistics/range_methods.h"

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

// The statistics of some heads of a layer.
KvStatistics only(const KvStatistics& whole, int64_t layer, int64_t first_head, int64_t heads) {
  KvStatistics part(1, heads, whole.head_dim);
  const int64_t first = (layer * whole.kv_heads + first_head) * whole.head_dim;
  for (const KvTensor& tensor : kKvTensors) {
    const TensorStatistics& all = whole.*tensor.statistics;
    std::copy_n(all.minimum.begin() + first, heads * whole.head_dim,
                (part.*tensor.statistics).minimum.begin());
    std::copy_n(all.maximum.begin() + first, heads * whole.head_dim,
                (part.*tensor.statistics).maximum.begin());
  }
  return part;
}

TEST(KvScale, OfAServingRankIsThatOfItsHeadsAlone) {
  const KvStatistics whole = example();
  for (const ScaleMethod& method : range_methods()) {
    for (const int64_t ranks : {1, 2, 4}) {
      const auto scales = compute_scales(whole, ranks, method);
      ASSERT_EQ(scales.size(), static_cast<size_t>(2 * ranks));
      for (int64_t at = 0; at < 2 * ranks; ++at)
        EXPECT_EQ(scales[static_cast<size_t>(at)],
                  scale_of(only(whole, at / ranks, at % ranks * 4 / ranks, 4 / ranks), method));
    }
  }
}

TEST(KvScale, IsToTheBitAsKnown) {
  const auto scales = compute_scales(example(), 2, ScaleMethod::kAsymmetric);
  // Layer 1, rank 0: heads 0 and 1, K in [-4, 8], V in [-0.25, 0.125].
  EXPECT_EQ(scales[2], (KvScale{0x1.818182p-5f, 2.0f, 0x1.818182p-10f, -0.0625f}));
  // Layer 0, rank 1: heads 2 and 3, K in [-4, 8], V in [-0.5, 0.25].
  EXPECT_EQ(scales[1], (KvScale{0x1.818182p-5f, 2.0f, 0x1.818182p-9f, -0.125f}));
  // Layer 0, head 3: K in [-4, 8], V in [-0.5, 0.25].
  EXPECT_EQ(compute_scales(example(), 4, ScaleMethod::kSymmetric)[3],
            (KvScale{0x1.020408p-4f, 0.0f, 0x1.020408p-8f, 0.0f}));
}

// No neighbour of `scale` comes nearer to `width` in so many steps.
void expect_nearest(float scale, double steps, double width) {
  const auto missed = [&](float by) { return std::fabs(static_cast<double>(by) * steps - width); };
  EXPECT_LE(missed(scale), missed(std::nextafter(scale, 0.0f))) << width;
  EXPECT_LE(missed(scale), missed(std::nextafter(scale, 2 * scale))) << width;
}

TEST(KvScale, IsTheNearestNumberThatSpansTheRangeInItsSteps) {
  // Multiples of 2^-8, of which sums are exact.
  std::mt19937 random(5);
  std::uniform_int_distribution<int> multiple(1, 1 << 16);
  for (int i = 0; i < 1000; ++i) {
    const float low = -std::ldexp(static_cast<float>(multiple(random)), -8);
    const float high = std::ldexp(static_cast<float>(multiple(random)), -8);
    const KvScale scale = scale_of(one(low, high, -high, -low));
    expect_nearest(scale.k_scale, 255, static_cast<double>(high) - low);
    EXPECT_EQ(scale.k_zero - low, high - scale.k_zero);
    EXPECT_EQ(scale.value(), (TensorScale{scale.k_scale, -scale.k_zero}));  // of the mirrored range
    expect_nearest(scale_of(one(low, high), ScaleMethod::kSymmetric).k_scale, 127,
                   std::max(-low, high));
  }
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

TEST(KvScale, WidensARangeThatDoesNotHoldZero) {
  for (const ScaleMethod& method : range_methods())
    EXPECT_EQ(scale_of(one(2, 6, -6, -2), method), scale_of(one(0, 6, -6, 0), method));
}

TEST(KvScale, ClampsADegenerateRange) {
  const KvScale scale = scale_of(one(0, 0, -1e-9f, 1e-9f));
  EXPECT_EQ(scale, (KvScale{0x1p-24f, 0.0f, 0x1p-24f, 0.0f}));
  EXPECT_FALSE(std::signbit(scale_of(one(-0.0f, -0.0f)).k_zero));
  EXPECT_EQ(scale_of(one(0, 0), ScaleMethod::kSymmetric).v_scale, 0x1p-24f);
}

TEST(KvScale, IsComputedInSinglePrecision) {
  // 2^24 + 1.25 is rounded before it is divided; else the scale would be 0x1.010102p16.
  const KvScale scale = scale_of(one(-1.25f, 0x1p24f));
  EXPECT_EQ(scale.k_scale, 0x1.010104p16f);
  EXPECT_EQ(scale.k_zero, 0x1.fffffep22f);
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
