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

}  // namespace
}  // namespace kvcalib
