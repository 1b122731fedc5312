// SPDX-License-Identifier: Apache-2.0
#include "calibrate/service/memory_holder.h"

#include <gtest/gtest.h>

#include "calibrate/service/measurement.h"
#include "tests/gpu/device_array.h"

namespace kvcalib {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20U;

class GpuMemoryHolder : public kernels::GpuTest {};

TEST_F(GpuMemoryHolder, TakesWhatItIsAskedForAndGivesAllBack) {
  const std::unique_ptr<MemoryHolder> holder = open_memory_holder(0);
  EXPECT_FALSE(holder->name().empty());
  const uint64_t before = holder->memory().used_bytes;
  for (const Taking taking : {Taking::kAlone, Taking::kPooled}) {
    ASSERT_TRUE(holder->hold(300 * kMiB + 17, taking));
    const uint64_t taken = holder->memory().used_bytes - before;
    EXPECT_GE(taken, 300 * kMiB);
    EXPECT_LE(taken, 340 * kMiB);
    holder->release();
    EXPECT_NEAR(static_cast<double>(holder->memory().used_bytes), static_cast<double>(before),
                static_cast<double>(4 * kMiB));
  }
}

TEST_F(GpuMemoryHolder, SaysNoToMoreThanThereIsAndGoesOn) {
  const std::unique_ptr<MemoryHolder> holder = open_memory_holder(0);
  for (const Taking taking : {Taking::kAlone, Taking::kPooled}) {
    EXPECT_FALSE(holder->hold(2 * holder->memory().total_bytes, taking));
    EXPECT_TRUE(holder->hold(kMiB, taking));
    holder->release();
  }
}

// Where another program has the GPU too, the context cannot be told apart from what that does.
TEST_F(GpuMemoryHolder, MeasuresASmallModelAsItIsPlanned) {
  const std::unique_ptr<MemoryHolder> holder = open_memory_holder(0);
  ModelConfig model;
  model.layers = 16;
  model.hidden = 2048;
  model.heads = model.kv_heads = 16;
  model.head_dim = 128;
  model.intermediate = 5504;
  model.vocab = 32000;
  const TurboMindRelease& release = find_turbomind_release("0.0.14");
  const ServingLoad load{1, 16, kUsualSessionTokens, 2048, holder->memory().total_bytes};
  const ServingMemory planned =
      serving_memory(model, release, memory_settings(release, nullptr), load, CacheType::kInt8);
  const Measurement measured = measure(*holder, planned);
  if (nearness(planned, measured) == Nearness::kDisturbed) GTEST_SKIP() << "others use this GPU";
  ASSERT_TRUE(measured.held);
  const auto parts = [](const ServingMemory& memory) { return memory.total() - memory.context; };
  EXPECT_NEAR(percent_off(parts(planned), parts(measured.taken)), 0, kNearPercent);
  EXPECT_LT(holder->context_bytes().value_or(0), 2048 * kMiB);
}

}  // namespace
}  // namespace kvcalib
