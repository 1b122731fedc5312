// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda_check.h"

#include <gtest/gtest.h>

#include <string>

namespace kvcalib::kernels {
namespace {

cudaError_t refuse_memory() { return cudaErrorMemoryAllocation; }
cudaError_t succeed() { return cudaSuccess; }

TEST(CudaCheck, NamesTheCallItsPlaceAndTheError) {
  const int line = __LINE__ + 2;
  try {
    CUDA_CHECK(refuse_memory());
    FAIL() << "nothing was thrown";
  } catch (const CudaError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("refuse_memory()"), std::string::npos) << text;
    EXPECT_NE(text.find("cuda_check_test.cpp:" + std::to_string(line)), std::string::npos) << text;
    EXPECT_NE(text.find("cudaErrorMemoryAllocation: out of memory"), std::string::npos) << text;
    EXPECT_EQ(error.code(), cudaErrorMemoryAllocation);
  }
}

TEST(CudaCheck, PassesSuccess) { EXPECT_NO_THROW(CUDA_CHECK(succeed())); }

}  // namespace
}  // namespace kvcalib::kernels
