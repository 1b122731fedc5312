// SPDX-License-Identifier: Apache-2.0
// A run into the weights that fails or is killed at any of its steps.
#include <gtest/gtest.h>

#include "tests/message_of.h"
#include "tests/output/child_process.h"
#include "tests/output/weights_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;

using WeightsStepsTest = WeightsTransactionTest;

// Every failure of a step must leave the old set, or the new one once it is in force.
TEST_F(WeightsStepsTest, TakesBackEverythingWhenAStepFails) {
  for (const Files& before : {fresh(), in_force()}) {
    bool failed = true;
    for (int64_t fatal = 0; failed; ++fatal) {
      start_from(before);
      int64_t steps = 0;
      bool flipped = false;
      const std::string message = message_of([&] {
        replace(folder_, output(), [&](std::string_view step) {
          flipped = flipped || step == "point current at next";
          if (steps++ == fatal) throw Error("out of order");
        });
      });
      failed = message != "nothing was thrown";
      if (failed) {
        EXPECT_HOLDS("out of order", message);
      }
      if (failed && flipped) {
        EXPECT_HOLDS("the new part files and config are in force all the same", message);
      }
      ASSERT_EQ(visible(folder_), flipped ? after(before) : before) << fatal;
      ASSERT_TRUE(is_tidy(folder_)) << fatal;
    }
  }
}

// The promise: config says int8 only while the parts are one complete set, and what is to
// be seen is the old state or the new one, whole.
void expect_promise(const Files& seen, const Files& before, const std::string& where) {
  ASSERT_TRUE(seen == before || seen == after(before)) << where;
  if (seen.at("config").find("int8 = 4") == std::string::npos) return;
  Files parts;
  for (const auto& [name, bytes] : seen) {
    if (is_part(name)) parts[name] = bytes;
  }
  ASSERT_TRUE(parts == part_set(2, 4, "old") || parts == part_set(2, 2, "new")) << where;
}

TEST_F(WeightsStepsTest, KeepsItsPromiseWhereverItIsKilled) {
  for (const Files& before : {fresh(), in_force()}) {
    const auto run = [&](const StepHook& step) { replace(folder_, output(), step); };
    int64_t steps = 0;
    int64_t old_states = 0, new_states = 0;
    for (bool killed = true; killed; ++steps) {
      start_from(before);
      killed = is_killed_at(steps, run);
      const Files seen = visible(folder_);
      expect_promise(seen, before, concat("killed at step ", steps));
      ++(seen == before ? old_states : new_states);

      WeightsTransaction::recover(folder_, set_names());
      ASSERT_EQ(visible(folder_), seen) << steps;
      ASSERT_TRUE(is_tidy(folder_)) << steps;

      run({});
      ASSERT_EQ(visible(folder_), after(before)) << steps;
      ASSERT_TRUE(is_tidy(folder_)) << steps;
    }
    EXPECT_GT(old_states, 20);
    EXPECT_GT(new_states, 10);
  }
}

TEST_F(WeightsStepsTest, KeepsItsPromiseWhenRecoveryIsKilledToo) {
  const Files before = joined(part_set(1, 2, "old"), {{"config", kInt8Config}});
  const Files files = joined(part_set(1, 1, "new"), {{"config", "int8 = 4"}});
  const auto run = [&](const StepHook& step) { replace(folder_, files, step); };
  for (int64_t first = 0;; ++first) {
    bool killed_again = true;
    for (int64_t second = 0; killed_again; ++second) {
      start_from(before);
      if (!is_killed_at(first, run)) break;
      const Files seen = visible(folder_);
      killed_again = is_killed_at(second, [&](const StepHook& step) {
        WeightsTransaction::recover(folder_, set_names(), step);
      });
      ASSERT_EQ(visible(folder_), seen) << first << ", " << second;
      WeightsTransaction::recover(folder_, set_names());
      ASSERT_EQ(visible(folder_), seen) << first << ", " << second;
      ASSERT_TRUE(is_tidy(folder_)) << first << ", " << second;
    }
    if (killed_again) {
      EXPECT_GT(first, 20);
      break;  // the run came to its end
    }
  }
}

}  // namespace
}  // namespace kvcalib
