// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/scale_method.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "calibrate/statistics/range_search.h"
#include "sharding/files/error.h"
#include "tests/message_of.h"
#include "tests/statistics/range_methods.h"

namespace kvcalib {
namespace {

// Channels with ranges about 0 and beside it, over six orders of magnitude.
class ScaleMethods : public testing::Test {
 protected:
  TensorStatistics random_channels(size_t count) {
    TensorStatistics channels;
    for (size_t i = 0; i < count; ++i) {
      const float magnitude = std::pow(10.0f, exponent_(random_));
      const float a = magnitude * place_(random_), b = magnitude * place_(random_);
      channels.minimum.push_back(std::min(a, b));
      channels.maximum.push_back(std::max(a, b));
    }
    return channels;
  }

  static TensorScale scale_of(const ScaleMethod& method, const TensorStatistics& channels) {
    return method.scale_of(channels.channels(0, channels.minimum.size()));
  }

  std::mt19937 random_{17};
  std::uniform_real_distribution<float> exponent_{-3, 3}, place_{-1, 1};
};

// What int8 makes of a number.
float through_int8(float value, const TensorScale& how) {
  const float step = std::round((value - how.zero) / how.scale);
  return std::clamp(step, -128.0f, 127.0f) * how.scale + how.zero;
}

TEST_F(ScaleMethods, BringEveryNumberInRangeBackWithinAStep) {
  for (const ScaleMethod& method : range_methods()) {
    for (int i = 0; i < 200; ++i) {
      const TensorStatistics channels = random_channels(7);
      const TensorScale how = scale_of(method, channels);
      for (size_t channel = 0; channel < 7; ++channel)
        for (const float value : {channels.minimum[channel], channels.maximum[channel], 0.0f})
          EXPECT_LE(std::fabs(through_int8(value, how) - value), how.scale * 1.001f)
              << method.text();
    }
  }
}

TEST_F(ScaleMethods, DoNotDependOnTheOrderOfTheChannels) {
  for (const ScaleMethod& method : range_methods()) {
    TensorStatistics channels = random_channels(9);
    const TensorScale before = scale_of(method, channels);
    std::reverse(channels.minimum.begin(), channels.minimum.end());
    std::reverse(channels.maximum.begin(), channels.maximum.end());
    EXPECT_EQ(scale_of(method, channels), before) << method.text();
  }
}

TEST_F(ScaleMethods, OfTheWholeRangeTakeNoLargerStepsThanItNeeds) {
  const float magnitudes[] = {0.01f, 1.0f, 50.0f};
  for (const float magnitude : magnitudes) {
    const TensorStatistics channels{{-magnitude}, {magnitude}};
    for (const ScaleMethod& method : {ScaleMethod::kAsymmetric, ScaleMethod::kSymmetric})
      EXPECT_LE(scale_of(method, channels).scale * 254, 2.001f * magnitude) << method.text();
  }
}

TEST_F(ScaleMethods, WithAMarginAreThoseOfAWiderRange) {
  const TensorStatistics channels{{-1.0f, -4.0f}, {3.0f, 2.0f}}, wider{{-6.0f}, {4.5f}};
  const auto with = [](const char* text) { return ScaleMethod::parse(text); };
  EXPECT_EQ(scale_of(with("minmax-margin:margin=1.5"), channels),
            scale_of(ScaleMethod::kAsymmetric, wider));
  EXPECT_EQ(scale_of(with("symmetric-margin:margin=1.5"), channels),
            scale_of(ScaleMethod::kSymmetric, wider));
  EXPECT_EQ(scale_of(with("minmax-margin:margin=1"), channels),
            scale_of(ScaleMethod::kAsymmetric, channels));
  for (const char* text : {"minmax-margin:margin=0.99", "symmetric-margin:margin=2.01",
                           "minmax-margin:margin=nan", "minmax-margin:margin=inf"})
    EXPECT_HOLDS("expected 1 to 2", message_of([&] { with(text); }));
}

TEST_F(ScaleMethods, SayWhetherTheirZeroIsAlwaysZero) {
  for (const ScaleMethod& method : range_methods()) {
    bool always = true;
    for (int i = 0; i < 20; ++i)
      always = always && scale_of(method, random_channels(3)).zero == 0.0f;
    EXPECT_EQ(method.is_symmetric(), always) << method.text();
  }
}

TEST_F(ScaleMethods, AreReadBackFromTheirText) {
  for (const ScaleMethod& method : ScaleMethod::all())
    EXPECT_EQ(ScaleMethod::parse(method.text()), method);
  EXPECT_EQ(ScaleMethod::kSymmetric.text(), "symmetric");
  EXPECT_EQ((ScaleMethod{"clipped", {{"fraction", 0.999}, {"heads", 2}}}).text(),
            "clipped:fraction=0.999,heads=2");
}

// Two kv heads of two channels: what is asked of the histograms is asked of both.
class MethodsOfHistograms : public testing::Test {
 protected:
  MethodsOfHistograms() : statistics_(1, 2, 2) {
    statistics_.keys = {{-4, -1, 0, -2}, {8, 1, 3, 4}};
    statistics_.values = {{-1, -1, -1, -1}, {1, 1, 1, 1}};
    statistics_.key_histograms.counts.resize(2 * kHistogramBins);
    statistics_.key_histograms.importance.resize(2 * kHistogramBins);
    set_extremes(0, -4, 7.75F, -2, 6.2F);
    set_extremes(1, -2, 4, -2, 3.1F);
    // Both reach to below 8: their bins are 1/64 wide.
    add(0, 0, 1000);
    add(1, 0, 999);
    add(0, 256, 1);  // at 4
  }

  // The extremes with all tokens, and without the first and more.
  void set_extremes(size_t head, float low, float high, float low_apart, float high_apart) {
    std::vector<float>& extremes = statistics_.key_histograms.extremes;
    extremes.resize(2 * 2 * (kMostLeftOut + 1));
    for (size_t n = 0; n <= kMostLeftOut; ++n) {
      const size_t place = 2 * (head * (kMostLeftOut + 1) + n);
      extremes[place] = n == 0 ? low : low_apart;
      extremes[place + 1] = n == 0 ? high : high_apart;
    }
  }
  void add(size_t head, int bin, float mass) {
    const size_t place = head * kHistogramBins + static_cast<size_t>(kHistogramBins / 2 + bin);
    statistics_.key_histograms.counts[place] += mass;
    statistics_.key_histograms.importance[place] += mass;
  }
  TensorScale scale_of(const std::string& method) const {
    return ScaleMethod::parse(method).scale_of(statistics_.part(kKvTensors[0], 0, 0, 1));
  }
  static TensorScale of_range(float low, float high) {
    return {(high - low) / 255.0F, (high + low) * 0.5F};
  }

  KvStatistics statistics_;
};

TEST_F(MethodsOfHistograms, LeaveTheFirstTokensOut) {
  // Over both heads -4 becomes -2, 7.75 becomes 6.2: of the channels' own -4 and 8.
  EXPECT_EQ(scale_of("sinks-apart:tokens=3"),
            of_range(-2, static_cast<float>(static_cast<double>(6.2F) / 7.75 * 8)));
}

TEST_F(MethodsOfHistograms, TakeTheShareOfAllHeads) {
  // 2000 values; 0.05 % of them is the one at 4: half of it lies above 4 + half a bin.
  const double end = (256 + 0.5) / 64;
  EXPECT_EQ(
      scale_of("percentile:p=99.95").scale,
      of_range(static_cast<float>(-4 * kLeastFraction), static_cast<float>(end / 7.75 * 8)).scale);
}

TEST_F(MethodsOfHistograms, WidenWhatLosesLeastByTheMargin) {
  const TensorScale plain = scale_of("mse");
  EXPECT_EQ(scale_of("importance:margin=1"), plain);
  EXPECT_NEAR(scale_of("importance:margin=1.1").scale, 1.1 * plain.scale, 1e-6);
  EXPECT_EQ(scale_of("importance:margin=2"), of_range(-0.0625F, 8));  // no more than was seen
  EXPECT_LT(plain.scale, of_range(-4, 8).scale);
}

TEST_F(MethodsOfHistograms, AreRefusedWithoutThem) {
  statistics_.key_histograms = {};
  for (const ScaleMethod& method : ScaleMethod::all()) {
    if (!method.needs_histograms()) continue;
    EXPECT_HOLDS(concat("--method ", method.text(), ": is made of histograms, and the statistics "),
                 message_of([&] { scale_of(method.text()); }));
  }
}

TEST_F(MethodsOfHistograms, HaveParametersWithinBounds) {
  const auto refusal = [](const char* text) {
    return message_of([&] { ScaleMethod::parse(text); });
  };
  EXPECT_HOLDS("tokens is 2.5, expected a whole number from 1 to 8",
               refusal("sinks-apart:tokens=2.5"));
  EXPECT_HOLDS("tokens is 9, expected", refusal("sinks-apart:tokens=9"));
  EXPECT_HOLDS("p is 100.5, expected 50 to 100", refusal("percentile:p=100.5"));
  EXPECT_HOLDS("margin is 0.9, expected 1 to 2", refusal("importance:margin=0.9"));
}

TEST_F(ScaleMethods, RefuseWhatTheTableDoesNotHave) {
  EXPECT_HOLDS("scale method 'clipped' is not known, expected one of asymmetric, symmetric",
               message_of([] { ScaleMethod::parse("clipped:fraction=0.999"); }));
  EXPECT_HOLDS("it has no parameter 'fraction', expected symmetric",
               message_of([] { ScaleMethod::parse("symmetric:fraction=0.999"); }));
  for (const char* text : {"symmetric:", "symmetric:fraction", "symmetric:fraction=",
                           "symmetric:fraction=0.9x", "symmetric:fraction=1,"})
    EXPECT_HOLDS("expected PARAMETER=NUMBER", message_of([&] { ScaleMethod::parse(text); }));
  EXPECT_HOLDS("'clipped' is not known", message_of([] {
                 ScaleMethod{"clipped", {}}.scale_of({});
               }));
}

}  // namespace
}  // namespace kvcalib
