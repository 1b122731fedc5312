// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/rank_run.h"

#include <gtest/gtest.h>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

TEST(CheckMemory, SaysWhatIsNeededAndWhatThereIs) {
  const MemoryPlan plan{5'000'000'000, 2'000'000'000, 500'000'000};
  EXPECT_NO_THROW(check_memory(plan, "cuda:1", 7'500'000'000, 24'000'000'000));
  const std::string message =
      message_of([&] { check_memory(plan, "cuda:1", 7'499'999'999, 24'000'000'000); });
  EXPECT_HOLDS(
      "cuda:1: 7.50 GB are needed (two layers 5.00 GB, activations 2.00 GB, micro-batch "
      "0.50 GB), 7.50 GB of 24.00 GB are free",
      message);
  EXPECT_HOLDS("--micro-batch", message);
}

TEST(CheckHostMemory, SaysWhatAllRanksNeedTogether) {
  const HostMemoryPlan plan{{3'000'000'000, 2'000'000'000, 500'000'000}, 2, 250'000'000};
  EXPECT_NO_THROW(check_host_memory(plan, {11'250'000'000, 16'000'000'000, "MemAvailable"}));
  const std::string message = message_of([&] {
    check_host_memory(plan, {11'249'999'999, 16'000'000'000, "MemAvailable"});
  });
  EXPECT_HOLDS(
      "host memory: 11.25 GB are needed (each of 2 ranks: two layers 3.00 GB, activations 2.00 GB, "
      "micro-batch 0.50 GB; all: token ids 0.25 GB), 11.25 GB of 16.00 GB are free (MemAvailable)",
      message);
  for (const char* way_out : {"fewer --samples", "smaller --micro-batch", "fewer ranks"})
    EXPECT_HOLDS(way_out, message);
}

}  // namespace
}  // namespace kvcalib
