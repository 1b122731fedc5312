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
  static constexpr size_t kBytes = kRows * kRow * sizeof(Half);

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

  Half* in() { return static_cast<Half*>(in_); }
  Half* out() { return static_cast<Half*>(out_); }

  static void put(Half* row, const std::vector<Half>& values) {
    CUDA_CHECK(
        cudaMemcpy(row, values.data(), values.size() * sizeof(Half), cudaMemcpyHostToDevice));
  }

  static std::vector<Half> get(const Half* row, int64_t count) {
    std::vector<Half> values(static_cast<size_t>(count));
    CUDA_CHECK(cudaDeviceSynchronize());
    CUDA_CHECK(
        cudaMemcpy(values.data(), row, values.size() * sizeof(Half), cudaMemcpyDeviceToHost));
    return values;
  }

  void* in_ = nullptr;
  void* out_ = nullptr;
};

TEST_F(GpuLargeArrays, AreNormalisedToTheirLastRow) {
  const NormCase<Half> last(1, kRow);
  put(in() + kLast, last.hidden);
  DeviceArray<Half> weight(last.weight);
  DeviceArray<int> nonfinite({0});
  rms_norm<Half>(
      {in(), nullptr, nullptr, weight.data(), out(), kRows, kRow, 1e-5f, nonfinite.data()},
      stream_);
  EXPECT_TRUE(close(get(out() + kLast, kRow), last.on_cpu(false, false).out));
  EXPECT_EQ(nonfinite.to_host()[0], 0);
}

TEST_F(GpuLargeArrays, AreGatedToTheirLastRow) {
  const auto gate_up = random_values<Half>(kRow, 8, 2.0f);
  put(in() + kLast, gate_up);
  std::vector<Half> expected(kRow / 2);
  cpu::swiglu<Half>({gate_up.data(), expected.data(), 1, kRow / 2}, 0, 1);
  swiglu<Half>({in(), out(), kRows, kRow / 2}, stream_);
  EXPECT_TRUE(close(get(out() + (kRows - 1) * kRow / 2, kRow / 2), expected));
}

TEST_F(GpuLargeArrays, AreObservedToTheirLastRow) {
  put(in() + kLast + 3 * 128 + 5, {from_float<Half>(-3.0f)});
  DeviceArray<float> cosine(std::vector<float>(64, 1.0f)), sine(std::vector<float>(64));
  DeviceArray<float> minimum(std::vector<float>(256)), maximum(std::vector<float>(256));
  DeviceArray<int> nonfinite({0});
  DeviceArray<int32_t> positions(std::vector<int32_t>(size_t{kRows}));
  RotaryObserveArguments<Half> arguments;
  arguments.qkv = in();
  arguments.positions = positions.data();
  arguments.cosine = cosine.data();
  arguments.sine = sine.data();
  arguments.tokens = kRows;
  arguments.length = 1;
  arguments.row_stride = kRow;
  arguments.heads = 2;
  arguments.kv_heads = 1;
  arguments.head_dim = 128;
  arguments.keys = {minimum.data(), maximum.data()};
  arguments.values = {minimum.data() + 128, maximum.data() + 128};
  arguments.nonfinite = nonfinite.data();
  rotary_observe(arguments, stream_);
  std::vector<float> expected(256);
  expected[128 + 5] = -3.0f;
  EXPECT_EQ(minimum.to_host(), expected);
  EXPECT_EQ(maximum.to_host(), std::vector<float>(256));
}

}  // namespace
}  // namespace kvcalib::kernels
