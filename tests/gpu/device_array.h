// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "kernels/cuda_check.h"
#include "kernels/element_types.h"

namespace kvcalib::kernels {

using DeviceElementTypes = ::testing::Types<Half, Bfloat16>;

// A copy of a host array in the memory of the current GPU.
template <typename T>
class DeviceArray {
 public:
  // `offset`: how many elements past an aligned address the array starts.
  explicit DeviceArray(const std::vector<T>& values, int64_t offset = 0)
      : size_(values.size()), offset_(offset) {
    CUDA_CHECK(cudaMalloc(&memory_, (size_ + static_cast<size_t>(offset) + 1) * sizeof(T)));
    CUDA_CHECK(cudaMemcpy(data(), values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~DeviceArray() { cudaFree(memory_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() { return static_cast<T*>(memory_) + offset_; }

  // Waits for the device.
  std::vector<T> to_host() {
    std::vector<T> values(size_);
    CUDA_CHECK(cudaDeviceSynchronize());
    CUDA_CHECK(cudaMemcpy(values.data(), data(), size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  void* memory_ = nullptr;
  size_t size_;
  int64_t offset_;
};

// A test that runs on the first GPU, in a stream of its own; skipped where there is none.
class GpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    const cudaError_t code = cudaGetDeviceCount(&devices);
    if (code != cudaSuccess) {
      cudaGetLastError();
      GTEST_SKIP() << "no GPU: " << cudaGetErrorString(code);
    }
    if (devices == 0) GTEST_SKIP() << "no GPU: none is visible";
    CUDA_CHECK(cudaStreamCreate(&stream_));
  }

  void TearDown() override {
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  cudaStream_t stream_ = nullptr;
};

}  // namespace kvcalib::kernels
