// SPDX-License-Identifier: Apache-2.0
#include "kernels/rotary_observe.h"
#include "kernels/swiglu.h"
#include "tests/gpu/norm_case.h"

namespace kvcalib::kernels {
namespace {

// Arrays of more than 2^31 elements.
class GpuLargeArrays : public GpuTest {
 protected:
  static constexpr int64_t kRow = 1024;
  static constexpr int64_t kRows = (int64_t{1} << 21) + 3;
  static constexpr int64_t kLast = (kRows - 1) * kRow;
  static constexpr size_t kBytes = kRows * kRow * sizeof(__half);

  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    size_t free = 0;
    size_t total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free, &total));
    if (free < 2 * kBytes + (size_t{1} << 28)) GTEST_SKIP() << "needs 9 GB of free GPU memory";
    CUDA_CHECK(cudaMalloc(&in_, kBytes));
    CUDA_CHECK(cudaMalloc(&out_, kBytes));
    CUDA_CHECK(cudaMemset(in_, 0, kBytes));
    CUDA_CHECK(cudaMemset(out_, 0xff, kBytes));
  }

  void TearDown() override {
    cudaFree(in_);
    cudaFree(out_);
    GpuTest::TearDown();
  }

  __half* in() { return static_cast<__half*>(in_); }
  __half* out() { return static_cast<__half*>(out_); }

  static void put(__half* row, const std::vector<__half>& values) {
    CUDA_CHECK(
        cudaMemcpy(row, values.data(), values.size() * sizeof(__half), cudaMemcpyHostToDevice));
  }

  static std::vector<__half> get(const __half* row, int64_t count) {
    std::vector<__half> values(static_cast<size_t>(count));
    CUDA_CHECK(cudaDeviceSynchronize());
    CUDA_CHECK(
        cudaMemcpy(values.data(), row, values.size() * sizeof(__half), cudaMemcpyDeviceToHost));
    return values;
  }

  void* in_ = nullptr;
  void* out_ = nullptr;
};

TEST_F(GpuLargeArrays, AreNormalisedToTheirLastRow) {
  const NormCase<__half> last(1, kRow);
  put(in() + kLast, last.hidden);
  DeviceArray<__half> weight(last.weight);
  DeviceArray<int> nonfinite({0});
  rms_norm<__half>(
      {in(), nullptr, nullptr, weight.data(), out(), kRows, kRow, 1e-5f, nonfinite.data()},
      stream_);
  EXPECT_TRUE(close(get(out() + kLast, kRow), last.on_cpu(false, false).out));
  EXPECT_EQ(nonfinite.to_host()[0], 0);
}

TEST_F(GpuLargeArrays, AreGatedToTheirLastRow) {
  const auto gate_up = random_values<__half>(kRow, 8, 2.0f);
  put(in() + kLast, gate_up);
  std::vector<__half> expected(kRow / 2);
  cpu::swiglu<__half>({gate_up.data(), expected.data(), 1, kRow / 2}, 0, 1);
  swiglu<__half>({in(), out(), kRows, kRow / 2}, stream_);
  EXPECT_TRUE(close(get(out() + (kRows - 1) * kRow / 2, kRow / 2), expected));
}

TEST_F(GpuLargeArrays, AreObservedToTheirLastRow) {
  put(in() + kLast + 3 * 128 + 5, {from_float<__half>(-3.0f)});
  DeviceArray<float> cosine(std::vector<float>(64, 1.0f)), sine(std::vector<float>(64));
  DeviceArray<float> minimum(std::vector<float>(256)), maximum(std::vector<float>(256));
  DeviceArray<int> nonfinite({0});
  RotaryObserveArguments<__half> arguments;
  arguments.qkv = in();
  arguments.cosine = cosine.data();
  arguments.sine = sine.data();
  arguments.tokens = kRows;
  arguments.length = 1;
  arguments.row_stride = kRow;
  arguments.heads = 2;
  arguments.kv_heads = 1;
  arguments.head_dim = 128;
  arguments.interleaved = true;
  arguments.key_minimum = minimum.data();
  arguments.value_minimum = minimum.data() + 128;
  arguments.key_maximum = maximum.data();
  arguments.value_maximum = maximum.data() + 128;
  arguments.nonfinite = nonfinite.data();
  rotary_observe(arguments, stream_);
  std::vector<float> expected(256);
  expected[128 + 5] = -3.0f;
  EXPECT_EQ(minimum.to_host(), expected);
  EXPECT_EQ(maximum.to_host(), std::vector<float>(256));
}

}  // namespace
}  // namespace kvcalib::kernels
