// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/layer_findings.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/evaluate/simulated_profile.h"

namespace kvcalib {
namespace {

std::vector<std::string> findings(const SimulatedModel& model, const std::vector<KvScale>& scales,
                                  bool tell_scales = true) {
  return layer_findings(layer_figures(simulated_profile(model, scales), model.ranks),
                        tell_scales ? scales : std::vector<KvScale>());
}

std::string first_of(const std::vector<std::string>& sentences) {
  return sentences.empty() ? "" : sentences.front();
}

bool begins(const std::string& text, const std::string& beginning) {
  return text.compare(0, beginning.size(), beginning) == 0;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(LayerFindings, GoodScalesGiveNone) {
  const SimulatedModel model = small_model();
  EXPECT_EQ(findings(model, simulated_scales(model)), std::vector<std::string>());
}

TEST(LayerFindings, SymmetricScalesGiveNone) {
  const SimulatedModel model = small_model();
  std::vector<KvScale> scales = simulated_scales(model);
  for (KvScale& scale : scales) {
    scale.k_scale += 2 * std::abs(scale.k_zero) / 255;
    scale.v_scale += 2 * std::abs(scale.v_zero) / 255;
    scale.k_zero = scale.v_zero = 0;
  }
  EXPECT_EQ(findings(model, scales), std::vector<std::string>());
}

TEST(LayerFindings, NameTwoLayersWithEachOthersScales) {
  const SimulatedModel model = small_model();
  for (const auto& [a, b] : {std::pair<size_t, size_t>{1, 4}, {0, 5}, {3, 5}, {2, 3}}) {
    std::vector<KvScale> scales = simulated_scales(model);
    for (size_t rank = 0; rank < 2; ++rank) std::swap(scales[2 * a + rank], scales[2 * b + rank]);
    const std::string expected = "layers " + std::to_string(a) + " and " + std::to_string(b) +
                                 " seem to have each other's scales";
    EXPECT_TRUE(begins(first_of(findings(model, scales)), expected))
        << expected << ": " << first_of(findings(model, scales));
  }
}

TEST(LayerFindings, NameTwoRanksWithEachOthersScales) {
  const SimulatedModel model = small_model();
  std::vector<KvScale> scales = simulated_scales(model);
  std::swap(scales[6], scales[7]);
  EXPECT_TRUE(begins(first_of(findings(model, scales)),
                     "layer 3: ranks 0 and 1 seem to have each other's scales"))
      << first_of(findings(model, scales));
  for (const size_t other : {2, 8, 10}) std::swap(scales[other], scales[other + 1]);
  EXPECT_TRUE(begins(first_of(findings(model, scales)),
                     "layers 1, 3, 4 and 5: ranks 0 and 1 seem to have each other's scales"))
      << first_of(findings(model, scales));
}

TEST(LayerFindings, NameSwappedKAndV) {
  const SimulatedModel model = small_model();
  std::vector<KvScale> scales = simulated_scales(model);
  scales[5] = {scales[5].v_scale, scales[5].v_zero, scales[5].k_scale, scales[5].k_zero};
  EXPECT_TRUE(begins(first_of(findings(model, scales)),
                     "layer 2 rank 1: the scales of K and V seem to be swapped"))
      << first_of(findings(model, scales));
  for (KvScale& scale : scales) scale = {scale.v_scale, scale.v_zero, scale.k_scale, scale.k_zero};
  scales[5] = {scales[5].v_scale, scales[5].v_zero, scales[5].k_scale, scales[5].k_zero};
  EXPECT_TRUE(has(first_of(findings(model, scales)), "the scales of K and V seem to be swapped"))
      << first_of(findings(model, scales));
}

TEST(LayerFindings, NameAStepFourTimesTooLarge) {
  const SimulatedModel model = small_model();
  for (const bool tell_scales : {true, false}) {
    std::vector<KvScale> scales = simulated_scales(model);
    scales[8].k_scale *= 4;
    const std::string sentence = first_of(findings(model, scales, tell_scales));
    EXPECT_TRUE(begins(sentence, "layer 4 rank 0: K: only 6")) << sentence;
    EXPECT_TRUE(has(sentence, "as with a step ") && has(sentence, " times too large")) << sentence;
    EXPECT_TRUE(has(sentence, "times the median of the other layers")) << sentence;
  }
}

TEST(LayerFindings, NameRanksOfALayerTogether) {
  const SimulatedModel model = small_model();
  std::vector<KvScale> scales = simulated_scales(model);
  scales[4].v_scale *= 5;
  scales[5].v_scale *= 4;
  const std::vector<std::string> sentences = findings(model, scales);
  ASSERT_EQ(sentences.size(), 1U);
  EXPECT_TRUE(begins(sentences[0], "layer 2 ranks 0 and 1: V: only 5")) << sentences[0];
}

TEST(LayerFindings, NameAStepTooSmall) {
  const SimulatedModel model = small_model();
  std::vector<KvScale> scales = simulated_scales(model);
  scales[3].v_scale /= 4;
  const std::string sentence = first_of(findings(model, scales));
  EXPECT_TRUE(begins(sentence, "layer 1 rank 1: V: ")) << sentence;
  EXPECT_TRUE(has(sentence, " of the values are clipped, as with a step too small")) << sentence;
}

TEST(LayerFindings, NameAShiftedZeroPoint) {
  const SimulatedModel model = small_model();
  std::vector<KvScale> scales = simulated_scales(model);
  scales[9].k_zero += 80 * scales[9].k_scale;
  std::string sentence = first_of(findings(model, scales));
  EXPECT_TRUE(begins(sentence, "layer 4 rank 1: K: ")) << sentence;
  EXPECT_TRUE(has(sentence, " clipped at the lower end")) << sentence;
  EXPECT_TRUE(has(sentence, "as with a shifted zero point")) << sentence;
  scales[9].k_zero -= 160 * scales[9].k_scale;
  sentence = first_of(findings(model, scales));
  EXPECT_TRUE(has(sentence, " clipped at the upper end")) << sentence;
}

TEST(LayerFindings, SayTheWorstOfManyLayers) {
  const SimulatedModel model = small_model();
  std::vector<KvScale> scales = simulated_scales(model);
  for (KvScale& scale : scales) scale.k_scale /= 3;
  scales[6].k_scale /= 3;
  const std::vector<std::string> sentences = findings(model, scales);
  ASSERT_EQ(sentences.size(), 1U);
  EXPECT_TRUE(begins(sentences[0], "layer 3 rank")) << sentences[0];
  EXPECT_TRUE(has(sentences[0], "; the like in 5 other layers")) << sentences[0];
}

TEST(LayerFindings, NameAnErrorFarAboveOtherLayers) {
  std::vector<LayerFigures> layers(5);
  for (LayerFigures& layer : layers) {
    RankFigures& rank = layer.ranks.emplace_back();
    rank.keys.error = 0.01;
    rank.values.error = 0.1;  // of another kind: not what K is held against
  }
  EXPECT_TRUE(layer_findings(layers, {}).empty());
  layers[3].ranks[0].keys.error = 0.05;
  EXPECT_EQ(layer_findings(layers, {}),
            (std::vector<std::string>{
                "layer 3 rank 0: K: it costs more than elsewhere; error of the attention output 5 "
                "%, 5 times the median of the other layers"}));
}

TEST(LayerFindings, HoldALayerAgainstTheOthersOnly) {
  std::vector<LayerFigures> layers(2, {{{}, {}}});
  layers[0].ranks[0].values.error = layers[0].ranks[1].values.error = 0.01;
  layers[1].ranks[0].values.error = layers[1].ranks[1].values.error = 0.05;
  const std::vector<std::string> sentences = layer_findings(layers, {});
  ASSERT_EQ(sentences.size(), 1U);  // their own among them, the median would be 0.03
  EXPECT_TRUE(begins(sentences[0], "layer 1 ranks 0 and 1: V: it costs more")) << sentences[0];
}

TEST(LayerFindings, AreAHandful) {
  const SimulatedModel model = small_model();
  std::vector<KvScale> scales = simulated_scales(model);
  for (size_t i = 0; i < 3; ++i) {
    scales[2 * i].k_scale /= 4;
    scales[2 * i].v_scale *= 4;
    scales[2 * i + 6].v_zero += 60 * scales[2 * i + 6].v_scale;
  }
  EXPECT_EQ(findings(model, scales).size(), 5U);
}

TEST(LayerFindings, OfNothingAreNone) {
  EXPECT_TRUE(layer_findings({}, {}).empty());
  EXPECT_TRUE(layer_findings(std::vector<LayerFigures>(3), {}).empty());
}

TEST(LayerFindings, RefuseScalesOfOtherLayers) {
  EXPECT_THROW(layer_findings(std::vector<LayerFigures>(3), std::vector<KvScale>(2)),
               std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib
