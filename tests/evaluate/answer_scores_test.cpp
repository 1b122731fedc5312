// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/answer_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "calibrate/evaluate/task_scores.h"
#include "calibrate/evaluate/verdict.h"
#include "tests/evaluate/measured_fixture.h"

namespace kvcalib {
namespace {

TaskScore score(const ScoredTask& scored) { return score_tasks(std::vector{scored}).front(); }

const GeneratedAnswer kRight = generated("four", true), kWrong = generated("five", false),
                      kOther = generated("six", false);

TEST(AnswerScores, CountWhatIsLostAndGainedAsTextsDo) {
  const TaskScore found = score(generated_task("T", {{kRight, kRight},
                                                     {kRight, kWrong},
                                                     {kRight, kOther},
                                                     {kWrong, kRight},
                                                     {kWrong, kOther},
                                                     {kWrong, kWrong},
                                                     {kRight, kRight},
                                                     {kRight, kWrong}}));
  EXPECT_TRUE(found.is_generated);
  EXPECT_EQ(found.items, 8);
  EXPECT_EQ(found.streams[0].score.value, 62.5);
  const StreamScore& other = found.streams[1];
  EXPECT_EQ(other.lost, 3);
  EXPECT_EQ(other.gained, 1);
  EXPECT_EQ(other.changed_but_wrong, 1);
  EXPECT_DOUBLE_EQ(other.difference.value, -25);
  EXPECT_DOUBLE_EQ(other.difference.error, 100 * std::sqrt((4.0 / 8 - 1.0 / 16) / 7));
  EXPECT_EQ(other.p, 10.0 / 16);
  EXPECT_DOUBLE_EQ(found.smallest_difference, 75);
}

TEST(AnswerScores, KnowNoMarginsAndNoLabels) {
  const TaskScore found = score(generated_task("T", {{kRight, kWrong}, {kWrong, kRight}}));
  EXPECT_TRUE(std::isnan(found.baseline));
  EXPECT_TRUE(std::isnan(found.streams[1].margin));
  EXPECT_TRUE(std::isnan(found.streams[1].margin_change.value));
  EXPECT_TRUE(found.gold_labels.empty());
  EXPECT_TRUE(found.streams[1].labels.empty());
}

TEST(AnswerScores, AnswersThatDifferInWhatIsNotExtractedAreTheSame) {
  GeneratedAnswer longer = kWrong;
  longer.text += ", or so";
  const TaskScore found = score(generated_task("T", {{kWrong, longer}}));
  EXPECT_EQ(found.streams[1].changed_but_wrong, 0);
  EXPECT_EQ(found.streams[1].agreement->equal, 0);
}

TEST(AnswerScores, ItemsOfAClusterCountTogether) {
  ScoredTask task =
      generated_task("T", {{kRight, kWrong}, {kRight, kRight}, {kRight, kWrong}, {kWrong, kRight}});
  const char* const clusters[] = {"a", "b", "a", "c"};
  for (size_t i = 0; i < task.items.size(); ++i) task.items[i].cluster = clusters[i];
  EXPECT_EQ(score(task).clusters, 3);
  EXPECT_DOUBLE_EQ(score(task).streams[1].difference.error,
                   100 * std::sqrt(3.0 / 2 * (2.25 + 0.0625 + 1.5625)) / 4);
}

TEST(AnswerScores, AreCorrectedTogetherWithRowsOfTexts) {
  const std::vector<std::vector<GeneratedAnswer>> lost(8, {kRight, kWrong});
  const auto found =
      score_tasks(std::vector{generated_task("A", lost), scored_task("B", 20, 20, 0, 0)});
  EXPECT_EQ(found[0].streams[1].p, 2.0 / 256);
  EXPECT_EQ(found[0].streams[1].corrected_p, 4.0 / 256);
  EXPECT_FALSE(found[1].streams[1].agreement.has_value());
  EXPECT_EQ(totals(found)[1].rows, 2);
  EXPECT_EQ(totals(found)[1].items, 48);
}

TEST(AnswerScores, TellHowManyTextsAreEqualAndWhereTheOthersPart) {
  const GeneratedAnswer longer = generated("fourteen", false);
  const TaskScore found = score(generated_task(
      "T", {{kRight, kRight}, {kRight, kWrong}, {kRight, longer}, {kRight, kOther}}));
  EXPECT_EQ(found.streams[0].agreement->equal, 100);
  EXPECT_TRUE(std::isnan(found.streams[0].agreement->parts_at));
  EXPECT_TRUE(found.streams[0].agreement->shown.empty());
  EXPECT_EQ(found.streams[1].agreement->equal, 25);
  EXPECT_EQ(found.streams[1].agreement->parts_at, 2);  // of 2, 8 and 0
}

TEST(AnswerScores, ShowLostAnswersFirst) {
  const TaskScore found = score(generated_task(
      "T",
      {{kWrong, kOther}, {kWrong, kRight}, {kRight, kRight}, {kRight, kOther}, {kRight, kWrong}}));
  std::vector<std::string> shown;
  for (const AnswerPair& pair : found.streams[1].agreement->shown) shown.push_back(pair.id);
  EXPECT_EQ(shown, (std::vector<std::string>{"item-3", "item-4", "item-1"}));
}

TEST(AnswerScores, RefuseItemsWhosePartsDoNotFit) {
  ScoredTask mixed = generated_task("T", {{kRight, kRight}});
  mixed.items.push_back(scored_task("T", 1, 0, 0, 0).items.front());
  EXPECT_THROW(score(mixed), std::invalid_argument);
  EXPECT_THROW(score(generated_task("T", {{kRight, kRight}, {kRight}})), std::invalid_argument);
  ScoredTask both = generated_task("T", {{kRight, kRight}});
  both.items[0].tokens = {4, 4};
  EXPECT_THROW(score(both), std::invalid_argument);
}

TEST(AnswerScores, AModelThatAnswersIsNotAtChance) {
  const std::vector<std::vector<GeneratedAnswer>> none(30, {kWrong, kWrong});
  std::vector<std::vector<GeneratedAnswer>> some = none;
  for (size_t i = 0; i < 10; ++i) some[i] = {kRight, kRight};
  EXPECT_TRUE(are_at_chance(score_tasks(std::vector{generated_task("A", none)})));
  EXPECT_FALSE(are_at_chance(score_tasks(std::vector{generated_task("A", some)})));
}

}  // namespace
}  // namespace kvcalib
