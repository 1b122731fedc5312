// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/scale_method.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/message_of.h"

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
  for (const ScaleMethod& method : ScaleMethod::all()) {
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
  for (const ScaleMethod& method : ScaleMethod::all()) {
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
  for (const ScaleMethod& method : ScaleMethod::all()) {
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
