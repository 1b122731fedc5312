// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/evaluation_result.h"

#include <gtest/gtest.h>

namespace kvcalib {
namespace {

TokenTree text_tree(size_t tokens) {
  TokenTree tree;
  tree.ids.resize(tokens);
  tree.scored.assign(tokens, 1);
  tree.scored[0] = 0;
  tree.nodes = {{-1, 0, static_cast<int64_t>(tokens)}};
  return tree;
}

TokenScores scores_of(std::vector<float> surprise, float divergence) {
  const size_t tokens = surprise.size();
  std::vector<float> divergences(tokens, divergence);
  divergences[0] = 0;
  return {std::move(surprise), divergences, divergences, std::vector<uint8_t>(tokens, 1)};
}

// A control, a text, copies at a distance, and a task of one item whose two texts share a root.
struct Case {
  Case() {
    work.trees = {text_tree(3), text_tree(3), text_tree(3), text_tree(3)};
    TokenTree& item = work.trees[3];
    item.ids.resize(5);
    item.scored = {0, 1, 1, 1, 1};
    item.nodes = {{-1, 0, 2}, {0, 2, 1}, {0, 3, 2}};
    work.text = {1, 2};
    work.copies = {{16, {2, 3}}};
    work.tasks.resize(1);
    work.tasks[0].file.task = "RTE";
    work.tasks[0].file.rule = ScoringRule::kPerPredicted;
    work.tasks[0].items = {{3, 4}, {{{"one", "", 1, false, {{{0, 1}, 3, 1}, {{0, 2}, 4, 1}}}}}};

    tried.caches = {{{"fp16", "", false}, {}, 1}, {{"int8", "", false}, {}, 2}};
    config.vocab = 50;
    config.layers = 1;
    config.kv_heads = 2;

    const TokenScores exact{{0, 1, 2}, {}, {}, {}};
    scores.trees = {{{exact, scores_of({0, 1, 2}, 0)}},
                    {{exact, scores_of({0, 2, 3}, 0.25F)}},
                    {{exact, scores_of({0, 5, 6}, 2)}},
                    {{TokenScores{{0, 1, 2, 3, 4}, {}, {}, {}}, scores_of({0, 1, 9, 3, 4}, 0.5F)}}};
    scores.profiles.resize(3, StreamProfile(1));
    scores.profiles[1][0].key_codes = {{100, 5, -128, 127}, {100, 0, 0, 1}};
    scores.profiles[1][0].value_codes = {{100, 0, 0, 1}, {100, 15, 0, 1}};
  }

  Measured measured() const { return measure(work, tried, config, scores, {}).measured; }

  EvaluationWork work;
  TriedCaches tried;
  ModelConfig config;
  GroupScores scores;
};

TEST(EvaluationResult, TakesTextAndCopiesFromTheirTrees) {
  const Measured measured = Case().measured();
  ASSERT_EQ(measured.streams.size(), 2U);
  ASSERT_TRUE(measured.text);
  ASSERT_EQ(measured.text->streams.size(), 2U);
  EXPECT_EQ(measured.text->tokens, 2);
  EXPECT_EQ(measured.text->streams[0].surprise.value, 1.5);
  EXPECT_EQ(measured.text->streams[1].surprise.value, 2.5);
  EXPECT_EQ(measured.text->streams[1].divergence.value, 0.25);
  ASSERT_EQ(measured.copy.size(), 1U);
  EXPECT_EQ(measured.copy[0].distance, 16);
  EXPECT_EQ(measured.copy[0].measures.streams[1].divergence.value, 2);
  EXPECT_TRUE(measured.recall.empty());
}

TEST(EvaluationResult, SumsTheTextsOfItemsAlongTheirPaths) {
  const Case given;
  const EvaluationResult result = measure(given.work, given.tried, given.config, given.scores, {});
  ASSERT_EQ(result.tasks.size(), 1U);
  EXPECT_EQ(result.tasks[0].rule, ScoringRule::kPerPredicted);
  const ItemScores& item = result.tasks[0].items.at(0);
  EXPECT_EQ(item.id, "one");
  EXPECT_EQ(item.gold, 1);
  EXPECT_EQ(item.tokens, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(item.sums, (std::vector<std::vector<double>>{{3, 8}, {10, 8}}));
  ASSERT_EQ(result.measured.tasks.size(), 1U);
  EXPECT_EQ(result.measured.tasks[0].streams.at(0).score.value, 0);
  EXPECT_EQ(result.measured.tasks[0].streams.at(1).score.value, 100);
}

TEST(EvaluationResult, ProfilesTheTriedCachesAlone) {
  const Measured measured = Case().measured();
  ASSERT_EQ(measured.profiles.size(), 1U);
  EXPECT_EQ(measured.profiles[0].stream, 1U);
  EXPECT_EQ(measured.profiles[0].clipped, 20 / 400.0);
  ASSERT_EQ(measured.profiles[0].layers.size(), 1U);
  EXPECT_EQ(measured.profiles[0].layers[0].ranks.at(0).keys.clipped, 0.05);
  EXPECT_EQ(measured.profiles[0].layers[0].ranks.at(1).values.clipped, 0.15);
}

TEST(EvaluationResult, TellsWhetherTheControlIsTheFirstStreamToTheBit) {
  EXPECT_EQ(Case().measured().is_control_zero, true);
  const auto differs = [](auto change) {
    Case given;
    change(given.scores.trees[0].streams.back());
    return given.measured().is_control_zero;
  };
  EXPECT_EQ(differs([](TokenScores& control) { control.surprise[2] = 2.0000002F; }), false);
  EXPECT_EQ(differs([](TokenScores& control) { control.divergence[1] = 1e-30F; }), false);
  EXPECT_EQ(differs([](TokenScores& control) { control.reverse_divergence[2] = -1e-30F; }), false);
}

}  // namespace
}  // namespace kvcalib
