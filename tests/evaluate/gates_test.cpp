// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/gates.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/evaluate/measured_fixture.h"

namespace kvcalib {
namespace {

Measured measured_with_text(float divergence) {
  Measured measured;
  measured.streams = two_streams();
  measured.vocab = 2048;
  measured.text = measured_text(0, 0, divergence);
  return measured;
}

std::vector<std::string> failed_divergence(const Measured& measured, double most) {
  Gates gates;
  gates.most_divergence = most;
  return failed_gates(gates, measured);
}

std::vector<std::string> failed_loss(const Measured& measured, const std::string& task,
                                     double points) {
  Gates gates;
  gates.most_loss = {{task, points}};
  return failed_gates(gates, measured);
}

TEST(Gates, WithoutAnyNothingFails) {
  EXPECT_TRUE(failed_gates({}, measured_with_text(9)).empty());
}

TEST(Gates, HoldTheMeanDivergenceAgainstItsLimit) {
  EXPECT_TRUE(failed_divergence(measured_with_text(0.5F), 0.5).empty());
  EXPECT_EQ(failed_divergence(measured_with_text(0.5F), 0.25),
            std::vector<std::string>{"--max-kl 0.25: the mean KLD of int8 is 0.5"});
}

TEST(Gates, DoNotJudgeStreamsThatAreOnlyCompared) {
  Measured measured = measured_with_text(0.5F);
  measured.streams[1].is_compared_only = true;
  EXPECT_TRUE(failed_divergence(measured, 0.25).empty());
}

TEST(Gates, FailOnWhatIsNoNumber) {
  Measured measured = measured_with_text(0.5F);
  measured.text->streams[1].divergence.value = kUnknown;
  EXPECT_EQ(failed_divergence(measured, 100),
            std::vector<std::string>{"--max-kl 100: the mean KLD of int8 is not a finite number"});
}

TEST(Gates, JudgeCopyingWhereThereIsNoText) {
  Measured measured = measured_with_text(0);
  measured.copy = {{16, measured_text(0, 0, 0.125F)}, {64, measured_text(0, 0, 0.5F)}};
  EXPECT_TRUE(failed_divergence(measured, 0.25).empty());
  measured.text.reset();
  EXPECT_EQ(failed_divergence(measured, 0.25),
            std::vector<std::string>{
                "--max-kl 0.25: the mean KLD of int8 is 0.5 in copying at distance 64"});
}

TEST(Gates, FailWhenNothingWasMeasured) {
  Measured measured = measured_with_text(0);
  measured.text.reset();
  EXPECT_EQ(failed_divergence(measured, 1),
            std::vector<std::string>{"--max-kl 1: neither text nor copying was scored"});
  EXPECT_EQ(failed_loss(measured, "RTE", 1),
            std::vector<std::string>{"--max-loss RTE=1: that task was not scored"});
}

TEST(Gates, HoldTheLossOfATaskAgainstItsLimit) {
  Measured measured = measured_with_text(0);
  measured.tasks =
      score_tasks(std::vector{scored_task("RTE", 10, 5, 4, 1), scored_task("COPA", 10, 5, 1, 4)});
  EXPECT_TRUE(failed_loss(measured, "RTE", 15).empty());
  EXPECT_EQ(failed_loss(measured, "RTE", 14.5),
            std::vector<std::string>{"--max-loss RTE=14.5: int8 loses 15 points"});
  EXPECT_TRUE(failed_loss(measured, "COPA", 0).empty());
}

TEST(Gates, NameTasksThatAreNotThere) {
  Gates gates;
  gates.most_loss = {{"RTE", 1}, {"rte", 1}, {"WiC", 2}};
  EXPECT_EQ(unknown_tasks(gates, std::vector<std::string>{"RTE", "COPA"}),
            (std::vector<std::string>{"rte", "WiC"}));
  EXPECT_TRUE(unknown_tasks({}, {}).empty());
}

}  // namespace
}  // namespace kvcalib
