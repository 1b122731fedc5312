// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/out_of_memory.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

namespace kvcalib {
namespace {

TEST(OutOfMemory, OfACpuTensorIsTold) {
  throw_out_of_memory_on_cpu();
  constexpr int64_t kMoreThanThereIs = int64_t{1} << 60;
  try {
    at::empty({kMoreThanThereIs}, at::kByte);
    FAIL() << "there was memory";
  } catch (const c10::Error& failure) {
    EXPECT_TRUE(is_out_of_memory(failure));
    EXPECT_NE(std::string(failure.what_without_backtrace()).find("allocate"), std::string::npos);
  }
  EXPECT_EQ(at::empty({3}, at::kByte).numel(), 3);
}

TEST(OutOfMemory, IsNotWhateverFailsOrSpeaksOfMemory) {
  const c10::SourceLocation here{"", "", 0};
  EXPECT_FALSE(is_out_of_memory(c10::Error(here, "out of memory")));
  EXPECT_FALSE(is_out_of_memory(c10::AcceleratorError(here, 700, "an illegal memory access")));
  EXPECT_TRUE(is_out_of_memory(c10::AcceleratorError(here, 2, "CUDA error")));
}

}  // namespace
}  // namespace kvcalib
