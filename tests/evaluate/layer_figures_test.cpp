// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/layer_figures.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

namespace kvcalib {
namespace {

LayerProfile four_heads() {
  LayerProfile layer;
  layer.key_codes = {{100, 1, -100, 20}, {300, 3, -128, 50}, {100, 0, -3, 4}, {100, 0, 1, 8}};
  layer.value_codes = {{10, 0, -128, 127}, {10, 0, 0, 0}, {10, 5, 0, 127}, {10, 5, -128, 0}};
  layer.key_error = {{1, 100}, {3, 300}, {0, 5}, {0, 7}};
  layer.value_error = {{4, 100}, {0, 0}, {9, 100}, {0, 0}};
  layer.both_error = {{16, 100}, {0, 0}, {25, 100}, {0, 0}};
  layer.hidden_error = {4, 1600};
  return layer;
}

TEST(LayerFigures, PutTogetherTheHeadsOfARank) {
  const std::vector<LayerFigures> layers = layer_figures({four_heads()}, 2);
  ASSERT_EQ(layers.size(), 1U);
  ASSERT_EQ(layers[0].ranks.size(), 2U);
  const RankFigures &first = layers[0].ranks[0], &second = layers[0].ranks[1];
  EXPECT_DOUBLE_EQ(first.keys.clipped, 0.01);
  EXPECT_EQ(first.keys.lowest, -128);
  EXPECT_EQ(first.keys.highest, 50);
  EXPECT_DOUBLE_EQ(first.keys.unused(), 77.0 / 256);
  EXPECT_DOUBLE_EQ(first.keys.error, 0.1);
  EXPECT_EQ(first.values.unused(), 0);
  EXPECT_DOUBLE_EQ(first.values.error, 0.2);
  EXPECT_DOUBLE_EQ(first.both_error, 0.4);
  EXPECT_EQ(second.keys.codes_used(), 12);
  EXPECT_EQ(second.keys.error, 0);
  EXPECT_DOUBLE_EQ(second.values.clipped, 0.5);
  EXPECT_DOUBLE_EQ(second.both_error, 0.5);
  EXPECT_DOUBLE_EQ(layers[0].hidden_error, 0.05);
}

TEST(LayerFigures, OneRankHoldsAllHeadsAndFourOneEach) {
  EXPECT_DOUBLE_EQ(layer_figures({four_heads()}, 1)[0].ranks[0].keys.clipped, 4.0 / 600);
  const std::vector<LayerFigures> apart = layer_figures({four_heads()}, 4);
  EXPECT_EQ(apart[0].ranks[3].keys.lowest, 1);
  EXPECT_TRUE(std::isnan(apart[0].ranks[3].values.error));
}

TEST(LayerFigures, OfFormatsWithoutCodesAreUnknown) {
  LayerProfile layer = four_heads();
  layer.key_codes.clear();
  layer.value_codes.clear();
  const LayerFigures figures = layer_figures({layer}, 2)[0];
  EXPECT_TRUE(std::isnan(figures.ranks[0].keys.clipped));
  EXPECT_TRUE(std::isnan(figures.ranks[0].keys.unused()));
  EXPECT_DOUBLE_EQ(figures.ranks[0].keys.error, 0.1);
  EXPECT_TRUE(std::isnan(clipped_share({layer})));
}

TEST(LayerFigures, OfAnEmptyProfileAreUnknown) {
  const LayerFigures figures = layer_figures({LayerProfile()}, 2)[0];
  EXPECT_TRUE(std::isnan(figures.ranks[1].values.error));
  EXPECT_TRUE(std::isnan(figures.hidden_error));
}

TEST(LayerFigures, ClippedShareIsOfAllValues) {
  EXPECT_DOUBLE_EQ(clipped_share({four_heads(), four_heads()}), 14.0 / 640);
}

TEST(LayerFigures, RefuseRanksThatDoNotDivideTheHeads) {
  EXPECT_THROW(layer_figures({four_heads()}, 3), std::invalid_argument);
  EXPECT_THROW(layer_figures({four_heads()}, 8), std::invalid_argument);
  EXPECT_THROW(layer_figures({four_heads()}, 0), std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib
