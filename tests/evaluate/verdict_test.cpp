// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/verdict.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/evaluate/measured_fixture.h"

namespace kvcalib {
namespace {

Measured two() {
  Measured measured;
  measured.streams = two_streams();
  measured.vocab = 2048;
  measured.is_control_zero = true;
  return measured;
}

std::string only_sentence(const Measured& measured) {
  const std::vector<std::string> sentences = verdict(measured);
  EXPECT_EQ(sentences.size(), 1U);
  return sentences.empty() ? "" : sentences.back();
}

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << part << ": " << text;
}

TEST(Verdict, ALossBeyondItsErrorIsMoreThanNoise) {
  Measured measured = two();
  measured.text = measured_text(0.25F, 0.0625F, 0.03125F);
  const std::string sentence = only_sentence(measured);
  expect_part(sentence,
              "int8: the loss is more than noise: text: worse than noise explains (ln PPL ");
  expect_part(sentence, "ratio +0.25 ± 0.024, KLD 0.031 ± 0)");
}

TEST(Verdict, ALossWithinItsErrorIsNoise) {
  Measured measured = two();
  measured.text = measured_text(0.0625F, 0.25F, 0.03125F);
  const std::string sentence = only_sentence(measured);
  expect_part(sentence, "int8: no loss beyond noise: text: no loss of perplexity beyond noise");
}

TEST(Verdict, ABetterStreamHasNoLoss) {
  Measured measured = two();
  measured.text = measured_text(-0.25F, 0.0625F, 0.03125F);
  expect_part(only_sentence(measured), "int8: no loss beyond noise: text: better");
}

TEST(Verdict, EqualStreamsChangeNothing) {
  Measured measured = two();
  measured.text = measured_text(0, 0, 0);
  EXPECT_EQ(only_sentence(measured),
            "int8: no loss beyond noise: text: no token's probability changes");
}

TEST(Verdict, OneWindowTellsNothing) {
  Measured measured = two();
  measured.text = measured_text(0.25F, 0, 0.03125F, 1);
  const std::string sentence = only_sentence(measured);
  expect_part(sentence, "int8: not enough to tell: text: too little text to tell");
  EXPECT_EQ(sentence.find("nan"), std::string::npos) << sentence;
}

TEST(Verdict, WhatDivergesMoreThanAWorseOneIsNoBetter) {
  Measured measured = two();
  measured.streams.push_back({"other", "", false});
  measured.text = measured_text(0.25F, 0.0625F, 0.03125F);
  StreamMeasures other = measured.text->streams[1];
  other.log_ratio = {0.25, 1};  // which noise explains
  other.divergence_excess = {0.01, 0.001};
  measured.text->streams.push_back(other);
  expect_part(verdict(measured).at(1), "other: the loss is more than noise: text: as bad as int8");
  measured.text->streams[2].divergence_excess = {0.001, 0.01};
  expect_part(verdict(measured).at(1), "other: no loss beyond noise: text: no loss of perplexity");
  measured.text->streams[2].divergence_excess = {-0.01, 0.001};
  expect_part(verdict(measured).at(1), "other: no loss beyond noise: text: no loss of perplexity");
}

TEST(Verdict, WhatIsNotFiniteIsALoss) {
  Measured measured = two();
  measured.text = measured_text(0, 0, 0);
  measured.text->streams[1].not_finite = 3;
  expect_part(
      only_sentence(measured),
      "int8: the loss is more than noise: text: 3 of 256 tokens have no finite probability");
}

TEST(Verdict, AControlThatIsNotZeroComesFirst) {
  Measured measured = two();
  measured.text = measured_text(0, 0, 0);
  measured.is_control_zero = false;
  const std::vector<std::string> sentences = verdict(measured);
  ASSERT_EQ(sentences.size(), 2U);
  expect_part(sentences.front(), "the control is not zero");
}

TEST(Verdict, NamesRowsThatStandAfterCorrection) {
  Measured measured = two();
  measured.tasks = score_tasks(
      std::vector{scored_task("RTE", 300, 50, 20, 2), scored_task("COPA", 60, 30, 5, 5)});
  const std::string sentence = only_sentence(measured);
  expect_part(sentence, "int8: the loss is more than noise: tasks: lost in RTE -4.8 points");
  expect_part(sentence, "(1 of 2 rows below 0.05, 0.1 expected by chance)");
  EXPECT_EQ(sentence.find("at chance"), std::string::npos) << sentence;
}

TEST(Verdict, ARowAmongManyIsChance) {
  Measured measured = two();
  std::vector<ScoredTask> tasks(30, scored_task("COPA", 60, 30, 5, 5));
  tasks.push_back(scored_task("RTE", 300, 50, 9, 1));  // p 0.021
  measured.tasks = score_tasks(tasks);
  const std::string sentence = only_sentence(measured);
  expect_part(sentence, "int8: no loss beyond noise: tasks: no loss beyond noise");
  expect_part(sentence, "(1 of 31 rows below 0.05, 1.6 expected by chance)");
}

TEST(Verdict, SaysWhenTasksAreAtChance) {
  Measured measured = two();
  measured.tasks = score_tasks(std::vector{scored_task("RTE", 50, 50, 3, 3)});
  expect_part(only_sentence(measured),
              ", but this model is at chance: fp16 is no better than the best constant answer");
}

TEST(Verdict, JudgesRecallAsTasks) {
  Measured measured = two();
  measured.recall = score_tasks(std::vector{scored_task("near", 60, 20, 15, 0)});
  expect_part(only_sentence(measured),
              "int8: the loss is more than noise: recall: lost in near -16 points (1 of 1 row ");
}

TEST(Verdict, ComparesLaterStreamsWithTheSecond) {
  Measured measured = two();
  measured.streams.push_back({"wide", "a step four times as large", false});
  measured.text = measured_text(0.0625F, 0.25F, 0.03125F);
  measured.text->streams.push_back(measured.text->streams[1]);
  StreamMeasures& wide = measured.text->streams[2];
  wide.divergence_excess = {0.5, 0.0625};
  const std::string more = ", more than int8's by 0.5 ± 0.062)";
  std::vector<std::string> sentences = verdict(measured);
  ASSERT_EQ(sentences.size(), 2U);
  EXPECT_EQ(sentences[0].find("more than"), std::string::npos) << sentences[0];
  expect_part(sentences[1], more);
  wide.divergence_excess.value = -0.5;
  expect_part(verdict(measured)[1], ", less than int8's by 0.5 ± 0.062)");
  wide.divergence_excess.error = 0.5;
  EXPECT_EQ(verdict(measured)[1].find("int8's"), std::string::npos);
}

TEST(Verdict, NamesTheDistanceAtWhichCopyingSuffers) {
  Measured measured = two();
  measured.copy = {{16, measured_text(0.0625F, 0.25F, 0.03125F)},
                   {256, measured_text(0.25F, 0.0625F, 0.03125F)}};
  const std::string sentence = only_sentence(measured);
  expect_part(sentence,
              "int8: the loss is more than noise: copying: worse than noise explains "
              "(+0.25 ± 0.024 nats at distance 256)");
}

TEST(Verdict, SaysThatAModelCannotCopy) {
  Measured measured = two();
  measured.copy = {{16, measured_text(0.25F, 0.0625F, 0.03125F, 8, 9)}};
  EXPECT_EQ(only_sentence(measured), "int8: not enough to tell: copying: this model cannot copy");
}

TEST(Verdict, EndsWithTheWorstLayer) {
  Measured measured = two();
  measured.text = measured_text(0, 0, 0);
  measured.profiles.push_back({1, 0, {}, {"layer 2 rank 0: K: bad", "layer 3: less so"}});
  expect_part(only_sentence(measured), "; stands out: layer 2 rank 0: K: bad");
}

TEST(Chance, IsTheBestConstantAnswerGiveOrTakeTwoErrors) {
  EXPECT_TRUE(are_at_chance(score_tasks(std::vector{scored_task("A", 50, 50, 0, 0)})));
  EXPECT_TRUE(are_at_chance(score_tasks(std::vector{scored_task("A", 55, 45, 0, 0)})));
  EXPECT_FALSE(are_at_chance(score_tasks(std::vector{scored_task("A", 80, 20, 0, 0)})));
  EXPECT_FALSE(are_at_chance(
      score_tasks(std::vector{scored_task("A", 50, 50, 0, 0), scored_task("B", 80, 20, 0, 0)})));
}

TEST(Chance, IsNotToldByRowsWhoseRightAnswerIsAlwaysTheSame) {
  ScoredTask same = scored_task("crows_pairs", 5, 5, 0, 0);
  for (ItemScores& item : same.items) item.gold = 0;
  EXPECT_FALSE(are_at_chance(score_tasks(std::vector{same})));
  EXPECT_FALSE(are_at_chance({}));
}

}  // namespace
}  // namespace kvcalib
