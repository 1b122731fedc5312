// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/task_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

namespace kvcalib {
namespace {

// Two texts of equal length; `choices` are by stream.
ItemScores item(int64_t gold, const std::vector<int64_t>& choices,
                const std::string& cluster = "") {
  ItemScores scores;
  scores.id = "i";
  scores.cluster = cluster;
  scores.gold = gold;
  scores.tokens = {4, 4};
  for (const int64_t choice : choices)
    scores.sums.push_back({choice == 0 ? 8.0 : 12.0, choice == 0 ? 12.0 : 8.0});
  return scores;
}

ScoredTask task(std::vector<ItemScores> items) {
  ScoredTask scored;
  scored.task = "T";
  scored.items = std::move(items);
  return scored;
}

TaskScore score(const ScoredTask& scored) { return score_tasks(std::vector{scored}).front(); }

TEST(TaskScores, RulesDivideByTheirNumberOfTokens) {
  ItemScores scores;
  scores.tokens = {5, 11};
  scores.sums = {{10, 21}};
  EXPECT_EQ(text_values(ScoringRule::kPerToken, scores, 0), (std::vector{10.0 / 5, 21.0 / 11}));
  EXPECT_EQ(text_values(ScoringRule::kPerPredicted, scores, 0), (std::vector{2.5, 2.1}));
  EXPECT_EQ(text_values(ScoringRule::kSum, scores, 0), (std::vector{10.0, 21.0}));
  // So that each can choose another text.
  EXPECT_EQ(choice_of(text_values(ScoringRule::kPerToken, scores, 0)), 1);
  EXPECT_EQ(choice_of(text_values(ScoringRule::kPerPredicted, scores, 0)), 1);
  EXPECT_EQ(choice_of(text_values(ScoringRule::kSum, scores, 0)), 0);
}

TEST(TaskScores, TheFirstOfEqualTextsWins) {
  EXPECT_EQ(choice_of(std::vector{2.0, 1.0, 1.0}), 1);
  EXPECT_EQ(choice_of(std::vector{1.0, 1.0}), 0);
}

TEST(TaskScores, WhatIsNoNumberIsNeverChosen) {
  EXPECT_EQ(choice_of(std::vector{std::nan(""), 3.0, 2.0}), 2);
  EXPECT_EQ(choice_of(std::vector{std::nan(""), std::nan("")}), -1);
  ItemScores broken = item(0, {0, 0});
  broken.sums[1] = {std::nan(""), std::nan("")};
  const TaskScore found = score(task({broken, item(1, {1, 1})}));
  EXPECT_EQ(found.streams[1].lost, 1);
  EXPECT_EQ(found.streams[1].score.value, 50);
  EXPECT_EQ(found.streams[1].labels, (std::vector<int64_t>{0, 1}));
  EXPECT_TRUE(std::isnan(found.streams[1].margin_change.value));
}

TEST(TaskScores, CountsFlips) {
  ItemScores other_wrong = item(2, {0, 1});
  other_wrong.tokens.push_back(4);
  for (std::vector<double>& sums : other_wrong.sums) sums.push_back(20);
  // Right, right | lost | lost | lost | gained | wrong, the same | wrong, another.
  const TaskScore found =
      score(task({item(0, {0, 0}), item(1, {1, 1}), item(0, {0, 1}), item(0, {0, 1}),
                  item(1, {1, 0}), item(1, {0, 1}), item(0, {1, 1}), other_wrong}));
  EXPECT_EQ(found.items, 8);
  const StreamScore& base = found.streams[0];
  EXPECT_DOUBLE_EQ(base.score.value, 62.5);
  EXPECT_EQ(base.difference, (Estimate{0, 0}));
  EXPECT_EQ(base.p, 1);
  const StreamScore& other = found.streams[1];
  EXPECT_EQ(other.lost, 3);
  EXPECT_EQ(other.gained, 1);
  EXPECT_EQ(other.changed_but_wrong, 1);
  EXPECT_DOUBLE_EQ(other.score.value, 37.5);
  EXPECT_DOUBLE_EQ(other.difference.value, -25);
  // sqrt(((b + c) / n - ((c - b) / n)^2) / (n - 1)), in points
  EXPECT_DOUBLE_EQ(other.difference.error, 100 * std::sqrt((4.0 / 8 - 1.0 / 16) / 7));
  EXPECT_EQ(other.p, 10.0 / 16);
  EXPECT_EQ(other.corrected_p, 10.0 / 16);
  EXPECT_EQ(found.gold_labels, (std::vector<int64_t>{4, 3, 1}));
  EXPECT_EQ(base.labels, (std::vector<int64_t>{5, 3, 0}));
  EXPECT_EQ(other.labels, (std::vector<int64_t>{2, 6, 0}));
  EXPECT_DOUBLE_EQ(found.baseline, 50);
  EXPECT_DOUBLE_EQ(found.smallest_difference, 75);  // 6 of 8
}

TEST(TaskScores, EqualStreamsShowNothing) {
  const TaskScore found = score(task({item(0, {0, 0}), item(1, {0, 0}), item(1, {1, 1})}));
  const StreamScore& other = found.streams[1];
  EXPECT_EQ(other.lost + other.gained + other.changed_but_wrong, 0);
  EXPECT_EQ(other.p, 1);
  EXPECT_EQ(other.corrected_p, 1);
  EXPECT_EQ(other.difference, (Estimate{0, 0}));
  EXPECT_EQ(other.margin_change, (Estimate{0, 0}));
  EXPECT_EQ(other.score, found.streams[0].score);
}

TEST(TaskScores, MarginIsTheBestWrongTextLessTheRightOne) {
  ItemScores first = item(0, {0, 0}), second = item(1, {1, 1});
  first.tokens = {2, 4, 5};
  first.sums = {{4, 12, 10}, {4, 12, 11}};  // values 2, 3, 2 and 2, 3, 2.2
  second.sums[1] = {12, 6};                 // 3 - 2 and 3 - 1.5
  const TaskScore found = score(task({first, second}));
  EXPECT_DOUBLE_EQ(found.streams[0].margin, (0 + 1) / 2.0);
  EXPECT_DOUBLE_EQ(found.streams[1].margin, (0.2 + 1.5) / 2);
  EXPECT_NEAR(found.streams[1].margin_change.value, (0.2 + 0.5) / 2, 1e-15);
  EXPECT_NEAR(found.streams[1].margin_change.error, 0.15, 1e-15);
}

TEST(TaskScores, ItemsOfAClusterCountTogether) {
  // Differences -1, -1 | 0 | +1: residuals around -1/4 are -1.5, 0.25, 1.25.
  const TaskScore found = score(task(
      {item(0, {0, 1}, "a"), item(0, {0, 0}, "b"), item(0, {0, 1}, "a"), item(0, {1, 0}, "c")}));
  EXPECT_EQ(found.clusters, 3);
  EXPECT_DOUBLE_EQ(found.streams[1].difference.value, -25);
  EXPECT_DOUBLE_EQ(found.streams[1].difference.error,
                   100 * std::sqrt(3.0 / 2 * (2.25 + 0.0625 + 1.5625)) / 4);
}

TEST(TaskScores, ItemsWithoutAClusterStandAlone) {
  EXPECT_EQ(
      score(task({item(0, {0, 0}), item(0, {0, 0}), item(0, {0, 0}, "a"), item(0, {0, 0}, "a")}))
          .clusters,
      3);
}

TEST(TaskScores, GroupsCanWeighTheSame) {
  ScoredTask scored = task({item(0, {0, 1}, "a"), item(1, {1, 1}, "b"), item(1, {0, 1}, "b"),
                            item(1, {0, 0}, "b"), item(1, {0, 0}, "b")});
  EXPECT_DOUBLE_EQ(score(scored).streams[0].score.value, 40);
  scored.mean_of_groups = true;
  const TaskScore found = score(scored);
  EXPECT_DOUBLE_EQ(found.streams[0].score.value, 100 * (1 + 0.25) / 2);
  EXPECT_DOUBLE_EQ(found.streams[1].score.value, 100 * (0 + 0.5) / 2);
  EXPECT_DOUBLE_EQ(found.streams[1].difference.value, -37.5);
  // Two groups, -1 and +1/4: deviation of their mean.
  EXPECT_DOUBLE_EQ(found.streams[1].difference.error, 100 * 0.625);
  EXPECT_DOUBLE_EQ(found.baseline, 50);
}

TEST(TaskScores, CorrectsOverTheRowsOfAStream) {
  std::vector<ItemScores> lost(8, item(0, {0, 1, 0})), equal(8, item(0, {0, 0, 0}));
  const auto found = score_tasks(std::vector{task(lost), task(equal), task(equal)});
  EXPECT_EQ(found[0].streams[1].p, 2.0 / 256);
  EXPECT_EQ(found[0].streams[1].corrected_p, 6.0 / 256);
  EXPECT_EQ(found[1].streams[1].corrected_p, 1);
  EXPECT_EQ(found[0].streams[2].corrected_p, 1);
  const std::vector<TaskTotals> all = totals(found);
  EXPECT_EQ(all[1].rows, 3);
  EXPECT_EQ(all[1].items, 24);
  EXPECT_EQ(all[1].lost, 8);
  EXPECT_EQ(all[1].gained, 0);
  EXPECT_EQ(all[1].significant, 1);
  EXPECT_EQ(all[1].still_significant, 1);
  EXPECT_DOUBLE_EQ(all[1].expected, 0.15);
  EXPECT_EQ(all[2].significant, 0);
}

TEST(TaskScores, OneItemHasNoErrors) {
  const TaskScore found = score(task({item(0, {0, 1})}));
  EXPECT_EQ(found.streams[1].difference.value, -100);
  EXPECT_TRUE(std::isnan(found.streams[1].difference.error));
  EXPECT_TRUE(std::isnan(found.smallest_difference));
  EXPECT_TRUE(found.has_one_gold_label());
}

TEST(TaskScores, CountsItemsThatWereCut) {
  ItemScores cut = item(0, {0, 0});
  cut.cut = true;
  EXPECT_EQ(score(task({cut, item(1, {1, 1}), cut})).cut, 2);
}

TEST(TaskScores, RefusesItemsWhosePartsDoNotFit) {
  ItemScores damaged = item(2, {0, 0});
  EXPECT_THROW(score(task({damaged})), std::invalid_argument);
  damaged = item(0, {0, 0});
  damaged.sums[1].pop_back();
  EXPECT_THROW(score(task({damaged})), std::invalid_argument);
  EXPECT_THROW(score(task({item(0, {0, 0}), item(0, {0})})), std::invalid_argument);
}

TEST(TaskScores, OfNoTasksAreNone) {
  EXPECT_TRUE(score_tasks({}).empty());
  EXPECT_TRUE(totals({}).empty());
}

}  // namespace
}  // namespace kvcalib
