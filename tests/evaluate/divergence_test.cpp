// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/divergence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

namespace kvcalib {
namespace {

struct Window {
  TreeScores scores;
  std::vector<uint8_t> scored;
};

// Two streams of which the second's distributions are those of the first.
Window equal_window(int64_t tokens, float first_surprise) {
  Window window;
  window.scored.assign(tokens, 1);
  window.scored.front() = 0;
  window.scores.streams.resize(2);
  TokenScores& base = window.scores.streams.front();
  for (int64_t t = 0; t < tokens; ++t)
    base.surprise.push_back(t == 0 ? 0 : first_surprise + 0.3F * static_cast<float>(t % 5));
  window.scores.streams[1] = base;
  window.scores.streams[1].divergence.assign(tokens, 0);
  window.scores.streams[1].reverse_divergence.assign(tokens, 0);
  window.scores.streams[1].same_top.assign(tokens, 1);
  return window;
}

// Numbers that floats hold exactly, the same as those of the Python that made what is expected.
Window window_of(int64_t w, int64_t tokens) {
  Window window = equal_window(tokens, 0);
  for (int64_t t = 1; t < tokens; ++t) {
    for (int64_t s = 0; s < 2; ++s)
      window.scores.streams[s].surprise[t] = static_cast<float>((7 * w + 3 * t + 5 * s) % 11) / 4 +
                                             static_cast<float>(s * ((w + t) % 3)) / 8;
    TokenScores& other = window.scores.streams[1];
    other.divergence[t] = static_cast<float>((5 * w + 2 * t) % 7) / 64;
    other.reverse_divergence[t] = static_cast<float>((3 * w + 4 * t) % 5) / 64;
    other.same_top[t] = (w + t) % 4 != 0 ? 1 : 0;
  }
  return window;
}

void add(DivergenceMeter& meter, const Window& window) {
  meter.add(0, window.scores, window.scored);
}

void expect_near(const Estimate& found, double value, double error) {
  EXPECT_NEAR(found.value, value, 1e-12 * std::max(1.0, std::abs(value)));
  EXPECT_NEAR(found.error, error, 1e-12 * std::max(1.0, std::abs(error)));
}

void expect_near(const std::vector<double>& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-12) << i;
}

TEST(Divergence, AgreesWithNumpy) {
  DivergenceMeter meter(2);
  const std::vector<int64_t> tokens = {5, 3, 8, 4};
  for (size_t w = 0; w < tokens.size(); ++w)
    add(meter, window_of(static_cast<int64_t>(w), tokens[w]));
  const TextMeasures text = meter.measures();
  EXPECT_EQ(text.windows, 4);
  EXPECT_EQ(text.tokens, 16);
  const StreamMeasures& other = text.streams[1];
  expect_near(other.surprise, 1.3203125, 0.11969698052503203);
  expect_near(other.perplexity, 3.744591379244545, 0.44821628139563713);
  EXPECT_NEAR(other.correlation, -21.7030440377751, 1e-10);
  expect_near(other.log_ratio, -0.0078125, 0.14516112397069297);
  expect_near(other.ratio, 0.9922179382602435, 0.14403147114174059);
  expect_near(other.difference, -0.02936919418584205, 0.5446193046016503);
  expect_near(other.divergence, 0.04296875, 0.00496352561262269);
  expect_near(other.divergence_at,
              {0.09375, 0.09375, 0.09375, 0.09375, 0.0859375, 0.0390625, 0, 0, 0, 0, 0});
  expect_near(other.reverse_divergence, 0.0322265625, 0.0024065711397495515);
  expect_near(other.change, 0.3807817796366395, 4.163636196799599);
  expect_near(
      other.change_at,
      {77.68698398515703, 77.35518515976416, 74.3689957312281, 61.09704271551239, 53.45929791317511,
       39.302434025336794, -0.9078568708595611, -43.27567162621882, -51.753240036745794,
       -58.7673540805648, -60.15561798578974, -60.46797736446535, -60.50268396209597});
  expect_near(other.change_rms, 45.0058642964741, 2.5559945184357313);
  expect_near(other.same_top, 75, 4.419417382415922);
}

TEST(Divergence, OfEqualStreamsIsZeroToTheBit) {
  DivergenceMeter meter(2);
  for (const int64_t tokens : {40, 7, 100}) add(meter, equal_window(tokens, 1.7F));
  const TextMeasures text = meter.measures();
  const StreamMeasures& other = text.streams[1];
  const Estimate zero = {0, 0};
  EXPECT_EQ(other.log_ratio, zero);
  EXPECT_EQ(other.ratio, (Estimate{1, 0}));
  EXPECT_EQ(other.difference, zero);
  EXPECT_EQ(other.divergence, zero);
  EXPECT_EQ(other.reverse_divergence, zero);
  EXPECT_EQ(other.change, zero);
  EXPECT_EQ(other.change_rms, zero);
  EXPECT_EQ(other.same_top, (Estimate{100, 0}));
  EXPECT_EQ(other.perplexity, text.streams.front().perplexity);
  for (const double value : other.divergence_at) EXPECT_EQ(value, 0);
  for (const double value : other.change_at) EXPECT_EQ(value, 0);
  for (const PlaceMeasures& place : other.places) {
    EXPECT_EQ(place.log_ratio.value, 0);
    EXPECT_EQ(place.divergence.value, 0);
    EXPECT_EQ(place.same_top.value, 100);
  }
}

TEST(Divergence, ErrorsAreOfWindowsNotOfTokens) {
  // Every token four times over in its window: four times the tokens know no more.
  DivergenceMeter once(2), often(2);
  for (int64_t w = 0; w < 4; ++w) {
    const Window window = window_of(w, 6);
    Window longer = window;
    for (int copy = 0; copy < 3; ++copy) {
      for (size_t s = 0; s < 2; ++s) {
        TokenScores& to = longer.scores.streams[s];
        const TokenScores& from = window.scores.streams[s];
        to.surprise.insert(to.surprise.end(), from.surprise.begin() + 1, from.surprise.end());
        if (s == 0) continue;
        to.divergence.insert(to.divergence.end(), from.divergence.begin() + 1,
                             from.divergence.end());
        to.reverse_divergence.insert(to.reverse_divergence.end(),
                                     from.reverse_divergence.begin() + 1,
                                     from.reverse_divergence.end());
        to.same_top.insert(to.same_top.end(), from.same_top.begin() + 1, from.same_top.end());
      }
      longer.scored.insert(longer.scored.end(), 5, 1);
    }
    add(once, window);
    add(often, longer);
  }
  const StreamMeasures few = once.measures().streams[1], many = often.measures().streams[1];
  EXPECT_EQ(often.measures().tokens, 4 * once.measures().tokens);
  EXPECT_GT(few.divergence.error, 0);
  expect_near(many.divergence, few.divergence.value, few.divergence.error);
  expect_near(many.log_ratio, few.log_ratio.value, few.log_ratio.error);
}

TEST(Divergence, OfOneWindowHasNoErrors) {
  DivergenceMeter meter(2);
  add(meter, window_of(2, 9));
  const StreamMeasures other = meter.measures().streams[1];
  EXPECT_TRUE(std::isfinite(other.divergence.value));
  for (const Estimate& estimate : {other.perplexity, other.log_ratio, other.difference,
                                   other.divergence, other.change_rms, other.same_top})
    EXPECT_TRUE(std::isnan(estimate.error));
}

TEST(Divergence, OfNothingIsUnknown) {
  const TextMeasures text = DivergenceMeter(2).measures();
  EXPECT_EQ(text.windows, 0);
  EXPECT_TRUE(std::isnan(text.streams[1].divergence.value));
  EXPECT_TRUE(std::isnan(text.streams[1].divergence_at.front()));
}

TEST(Divergence, PlacesAreSixteenTokensThenPowersOfTwo) {
  DivergenceMeter meter(2);
  add(meter, equal_window(40, 1));
  add(meter, equal_window(17, 1));
  Window late = equal_window(3, 1);
  late.scored.front() = 1;
  meter.add(63, late.scores, late.scored);  // 63, 64, 65
  const std::vector<PlaceMeasures> places = meter.measures().streams[1].places;
  ASSERT_EQ(places.size(), 4U);
  const int64_t expected[4][3] = {{0, 15, 30}, {16, 31, 17}, {32, 63, 9}, {64, 127, 2}};
  for (size_t p = 0; p < places.size(); ++p) {
    EXPECT_EQ(places[p].first, expected[p][0]);
    EXPECT_EQ(places[p].last, expected[p][1]);
    EXPECT_EQ(places[p].tokens, expected[p][2]);
  }
  EXPECT_EQ(places[1].divergence, (Estimate{0, 0}));    // of two windows
  EXPECT_TRUE(std::isnan(places[3].divergence.error));  // of one
}

TEST(Divergence, PlacesHoldTheirOwnTokens) {
  DivergenceMeter meter(2);
  for (int w = 0; w < 2; ++w) {
    Window window = equal_window(20, 1);
    window.scores.streams[1].divergence[3] = 0.5F;
    window.scores.streams[1].surprise[17] += 0.25F;
    window.scores.streams[1].same_top[17] = 0;
    window.scores.streams[1].reverse_divergence[18] = 0.25F;
    add(meter, window);
  }
  const std::vector<PlaceMeasures> places = meter.measures().streams[1].places;
  ASSERT_EQ(places.size(), 2U);
  EXPECT_DOUBLE_EQ(places[0].divergence.value, 0.5 / 15);
  EXPECT_EQ(places[0].log_ratio, (Estimate{0, 0}));
  EXPECT_EQ(places[1].divergence, (Estimate{0, 0}));
  EXPECT_NEAR(places[1].log_ratio.value, 0.25 / 4, 1e-7);
  EXPECT_DOUBLE_EQ(places[1].same_top.value, 75);
  EXPECT_EQ(places[0].reverse_divergence, (Estimate{0, 0}));
  EXPECT_DOUBLE_EQ(places[1].reverse_divergence.value, 0.25 / 4);
  const auto base = static_cast<double>(equal_window(20, 1).scores.streams[0].surprise[17]);
  const double change = 100 * (std::exp(-base - 0.25) - std::exp(-base));
  EXPECT_EQ(places[0].change, (Estimate{0, 0}));
  EXPECT_NEAR(places[1].change.value, change / 4, 1e-5);
  EXPECT_NEAR(places[1].change_rms.value, -change / 2, 1e-5);
}

TEST(Divergence, CountsWhatIsNotFinite) {
  DivergenceMeter meter(2);
  Window window = equal_window(9, 1);
  window.scores.streams[1].surprise[4] = std::nanf("");
  window.scores.streams[1].divergence[5] = std::numeric_limits<float>::infinity();
  add(meter, window);
  add(meter, equal_window(9, 1));
  const TextMeasures text = meter.measures();
  EXPECT_EQ(text.streams[0].not_finite, 0);
  EXPECT_EQ(text.streams[1].not_finite, 2);
  EXPECT_TRUE(std::isnan(text.streams[1].perplexity.value));
  EXPECT_TRUE(std::isnan(text.streams[1].change_at.front()));
  EXPECT_TRUE(std::isfinite(text.streams[0].perplexity.error));
}

TEST(Divergence, LeavesOutWindowsWithoutAScoredToken) {
  DivergenceMeter meter(2);
  Window unscored = equal_window(9, 1);
  std::fill(unscored.scored.begin(), unscored.scored.end(), uint8_t{0});
  add(meter, unscored);
  EXPECT_EQ(meter.measures().windows, 0);
}

TEST(Divergence, ComparesLaterStreamsWithTheSecond) {
  DivergenceMeter meter(3);
  for (int64_t w = 0; w < 3; ++w) {
    Window window = window_of(w, 7);
    window.scores.streams.push_back(window.scores.streams[1]);
    for (float& divergence : window.scores.streams[2].divergence) divergence += 0.5F;
    add(meter, window);
  }
  const TextMeasures text = meter.measures();
  EXPECT_TRUE(std::isnan(text.streams[1].divergence_excess.value));
  EXPECT_EQ(text.streams[2].divergence_excess, (Estimate{0.5, 0}));
}

TEST(Divergence, RefusesScoresThatDoNotFit) {
  DivergenceMeter meter(2);
  Window window = equal_window(5, 1);
  window.scored.pop_back();
  EXPECT_THROW(add(meter, window), std::invalid_argument);
  window = equal_window(5, 1);
  window.scores.streams.pop_back();
  EXPECT_THROW(add(meter, window), std::invalid_argument);
  window = equal_window(5, 1);
  window.scores.streams[1].same_top.pop_back();
  EXPECT_THROW(add(meter, window), std::invalid_argument);
  EXPECT_THROW(meter.add(-1, equal_window(5, 1).scores, equal_window(5, 1).scored),
               std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib
