// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/score_targets.h"

#include <gtest/gtest.h>

#include "tests/engine/segment_case.h"

namespace kvcalib {
namespace {

using Rows = std::vector<int64_t>;

// Ids are 100, 101, ... and all tokens but those of roots' first are scored.
TokenTree scored_tree(const std::vector<std::pair<int64_t, int64_t>>& nodes) {
  TokenTree tree = tree_of(nodes);
  tree.scored.assign(tree.ids.size(), 1);
  for (size_t i = 0; i < tree.ids.size(); ++i) tree.ids[i] = static_cast<int32_t>(100 + i);
  for (const TokenTree::Node& node : tree.nodes)
    if (node.parent < 0) tree.scored[static_cast<size_t>(node.first)] = 0;
  return tree;
}

// By target: the row that predicts it, the token and its id.
using Steps = std::vector<std::vector<int64_t>>;

Steps steps_of(const std::vector<TokenTree>& trees) {
  const ScoreTargets found = score_targets(trees);
  Steps steps;
  for (const ScoreTargets::Target& target : found.targets)
    steps.push_back({found.rows.at(static_cast<size_t>(target.slot)), target.token, target.id});
  return steps;
}

TEST(ScoreTargets, OfATextAreTheTokensBehindTheRows) {
  const std::vector<TokenTree> trees = {scored_tree({{-1, 4}})};
  EXPECT_EQ(score_targets(trees).rows, (Rows{0, 1, 2}));
  EXPECT_EQ(steps_of(trees), (Steps{{0, 1, 101}, {1, 2, 102}, {2, 3, 103}}));
}

// root 0 1 2, child 3 4, its children 5 and 6 7, and a child of the root 8.
TEST(ScoreTargets, OfAChildsFirstTokenAreInItsParentsLastRowThatChildrenShare) {
  const std::vector<TokenTree> trees = {scored_tree({{-1, 3}, {0, 2}, {1, 1}, {1, 2}, {0, 1}})};
  EXPECT_EQ(score_targets(trees).rows, (Rows{0, 1, 2, 3, 4, 6}));
  EXPECT_EQ(steps_of(trees), (Steps{{0, 1, 101},
                                    {1, 2, 102},
                                    {2, 3, 103},
                                    {2, 8, 108},
                                    {3, 4, 104},
                                    {4, 5, 105},
                                    {4, 6, 106},
                                    {6, 7, 107}}));
}

TEST(ScoreTargets, AreThoseThatAreScoredAlone) {
  std::vector<TokenTree> trees = {scored_tree({{-1, 3}, {0, 2}, {0, 2}})};
  trees[0].scored = {0, 0, 1, 0, 1, 1, 0};
  EXPECT_EQ(score_targets(trees).rows, (Rows{1, 2, 3}));
  EXPECT_EQ(steps_of(trees), (Steps{{1, 2, 102}, {2, 5, 105}, {3, 4, 104}}));
}

TEST(ScoreTargets, OfTreesLieEndToEnd) {
  std::vector<TokenTree> trees = {scored_tree({{-1, 2}, {0, 1}, {-1, 2}}), scored_tree({{-1, 3}}),
                                  scored_tree({{-1, 2}})};
  trees[1].scored.assign(3, 0);
  EXPECT_EQ(steps_of(trees), (Steps{{0, 1, 101}, {1, 2, 102}, {3, 4, 104}, {8, 9, 101}}));
  const ScoreTargets found = score_targets(trees);
  for (size_t i = 1; i < found.targets.size(); ++i)
    EXPECT_LE(found.targets[i - 1].slot, found.targets[i].slot);
}

TEST(ScoreTargets, OfNothingAreNone) {
  EXPECT_TRUE(score_targets({}).rows.empty());
  const std::vector<TokenTree> alone = {scored_tree({{-1, 1}})};
  EXPECT_TRUE(score_targets(alone).targets.empty());
}

}  // namespace
}  // namespace kvcalib
