// SPDX-License-Identifier: Apache-2.0
#include "calibrate/service/measurement.h"

#include <gtest/gtest.h>

#include "tests/runtimes/model_7b.h"
#include "tests/service/fake_holder.h"

namespace kvcalib {
namespace {

ServingMemory planned(const char* name, int64_t sessions, CacheType type) {
  const TurboMindRelease& release = find_turbomind_release(name);
  const ServingLoad load{1, sessions, kUsualSessionTokens, 2048, uint64_t{80} << 30U};
  return serving_memory(fixture::model_7b(), release, memory_settings(release, nullptr), load,
                        type);
}

TEST(Measurement, TakesEveryAllocationAsOftenAsItIsPlanned) {
  const ServingMemory plan = planned("0.0.14", 8, CacheType::kInt8);
  FakeHolder holder;
  EXPECT_TRUE(measure(holder, plan).held);
  size_t next = 0;
  for (const ServingAllocation& allocation : plan.allocations)
    for (uint64_t i = 0; i < allocation.count; ++i, ++next) {
      ASSERT_LT(next, holder.held.size());
      EXPECT_EQ(holder.held[next].bytes, allocation.bytes);
      EXPECT_EQ(holder.held[next].taking, allocation.taking);
    }
  EXPECT_EQ(next, holder.held.size());
}

TEST(Measurement, IsNearThePlanPartByPartAndTheContextTheHoldersOwn) {
  for (const char* name : {"0.0.14", "0.3.0"})
    for (const CacheType type : {CacheType::kSixteenBits, CacheType::kInt8}) {
      const ServingMemory plan = planned(name, 16, type);
      FakeHolder holder;
      const Measurement measured = measure(holder, plan);
      const ServingMemory& taken = measured.taken;
      EXPECT_NEAR(percent_off(plan.weights, taken.weights), 0, 1) << name;
      EXPECT_NEAR(percent_off(plan.cache, taken.cache), 0, 1) << name;
      EXPECT_GE(taken.weights, plan.weights);
      EXPECT_EQ(taken.context, *holder.context);
      EXPECT_EQ(taken.unfused_attention > 0, plan.unfused_attention > 0) << name;
      EXPECT_EQ(measured.others_bytes, 0);
      EXPECT_EQ(nearness(plan, measured), Nearness::kWithin) << name;
    }
}

TEST(Measurement, TakesTheContextAsPlannedWhereItIsNotKnown) {
  const ServingMemory plan = planned("0.3.0", 8, CacheType::kInt8);
  FakeHolder holder;
  holder.context.reset();
  EXPECT_EQ(measure(holder, plan).taken.context, plan.context);
}

TEST(Measurement, OfWhatDoesNotFitTakesNothing) {
  const ServingMemory plan = planned("0.0.14", 48, CacheType::kSixteenBits);
  FakeHolder holder;
  holder.card.total_bytes = uint64_t{24} << 30U;
  const Measurement measured = measure(holder, plan);
  EXPECT_FALSE(measured.held);
  EXPECT_TRUE(holder.held.empty());
  EXPECT_EQ(measured.needed_bytes, plan.total() - plan.context);
  EXPECT_EQ(measured.free_bytes, holder.card.free_bytes());
  EXPECT_EQ(nearness(plan, measured), Nearness::kNoRoom);
}

TEST(Measurement, GivesBackWhatDidNotFitForItsRounding) {
  const ServingMemory plan = planned("0.0.14", 8, CacheType::kInt8);
  FakeHolder holder;
  holder.card.total_bytes = holder.card.used_bytes + plan.total() - plan.context;
  const Measurement measured = measure(holder, plan);
  EXPECT_FALSE(measured.held);
  EXPECT_EQ(holder.memory().used_bytes, holder.card.used_bytes);
  EXPECT_EQ(nearness(plan, measured), Nearness::kNoRoom);
}

TEST(Measurement, SaysNothingWhereOthersTookMemoryMeanwhile) {
  const ServingMemory plan = planned("0.3.0", 8, CacheType::kInt8);
  FakeHolder holder;
  holder.others = [](CardMemory& card) { card.used_bytes += uint64_t{1} << 30U; };
  const Measurement measured = measure(holder, plan);
  EXPECT_EQ(measured.others_bytes, int64_t{1} << 30U);
  EXPECT_EQ(nearness(plan, measured), Nearness::kDisturbed);
}

TEST(Measurement, IsBeyondWhereTheSumIsOffByMoreThanThreePercent) {
  const ServingMemory plan = planned("0.0.14", 8, CacheType::kInt8);
  FakeHolder holder;
  Measurement measured = measure(holder, plan);
  measured.taken.context += plan.total() / 20;  // which is nobody's fault
  EXPECT_EQ(nearness(plan, measured), Nearness::kWithin);
  measured.taken.cache += plan.total() / 20;
  EXPECT_EQ(nearness(plan, measured), Nearness::kBeyond);
}

TEST(PercentOff, IsSignedAndZeroOfNothing) {
  EXPECT_DOUBLE_EQ(percent_off(200, 150), -25);
  EXPECT_DOUBLE_EQ(percent_off(0, 150), 0);
}

}  // namespace
}  // namespace kvcalib
