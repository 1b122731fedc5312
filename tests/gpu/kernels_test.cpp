// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/swiglu.h"
#include "tests/gpu/norm_case.h"

namespace kvcalib::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename T>
class GpuRmsNorm : public GpuTest {};
TYPED_TEST_SUITE(GpuRmsNorm, DeviceElementTypes);

TYPED_TEST(GpuRmsNorm, EqualsTheCpuTwin) {
  for (const int64_t width : {1, 5, 8, 64, 300, 1000, 1024, 4096, 10240, 16384, 16392, 20001}) {
    const NormCase<TypeParam> before(3, width);
    for (const auto& [delta, bias] : {std::pair{false, false}, {true, false}, {true, true}}) {
      for (const int64_t offset : {0, 1}) {
        const auto expected = before.on_cpu(delta, bias);
        const auto after = before.on_gpu(delta, bias, this->stream_, offset);
        EXPECT_TRUE(same_bits(after.hidden, expected.hidden)) << width << ' ' << offset;
        EXPECT_TRUE(close(after.out, expected.out)) << width << ' ' << offset;
        EXPECT_EQ(after.nonfinite, 0);
      }
    }
  }
}

TYPED_TEST(GpuRmsNorm, TreatsARowAlikeInAnyCompany) {
  const NormCase<TypeParam> many(300, 512);
  NormCase<TypeParam> one(1, 512);
  std::copy_n(many.hidden.begin() + 211 * 512, 512, one.hidden.begin());
  const auto among = many.on_gpu(false, false, this->stream_).out;
  const auto alone = one.on_gpu(false, false, this->stream_).out;
  EXPECT_TRUE(same_bits(alone, {among.begin() + 211 * 512, among.begin() + 212 * 512}));
}

TYPED_TEST(GpuRmsNorm, ReportsNanAndInfinityInAnyPlace) {
  for (const int64_t width : {67, 4096}) {
    for (const float bad : {std::nanf(""), kInfinity, -kInfinity}) {
      for (const int64_t column : {int64_t{0}, int64_t{33}, width - 1}) {
        NormCase<TypeParam> test(3, width);
        test.hidden[2 * width + column] = from_float<TypeParam>(bad);
        EXPECT_EQ(test.on_gpu(false, false, this->stream_).nonfinite, 1);
        NormCase<TypeParam> added(3, width);
        added.delta[2 * width + column] = from_float<TypeParam>(bad);
        EXPECT_EQ(added.on_gpu(true, false, this->stream_).nonfinite, 1);
      }
    }
  }
}

template <typename T>
class GpuSwiglu : public GpuTest {};
TYPED_TEST_SUITE(GpuSwiglu, DeviceElementTypes);

TYPED_TEST(GpuSwiglu, EqualsTheCpuTwin) {
  for (const auto& [tokens, width] : {std::pair<int64_t, int64_t>{1, 1},
                                      {3, 7},
                                      {5, 8},
                                      {4, 2048},
                                      {3, 2056},
                                      {2, 10001},
                                      {70000, 3},
                                      {66000, 8}}) {
    for (const int64_t offset : {0, 1}) {
      const auto gate_up = random_values<TypeParam>(tokens * 2 * width, 7, 4.0f);
      std::vector<TypeParam> expected(static_cast<size_t>(tokens * width));
      cpu::swiglu<TypeParam>({gate_up.data(), expected.data(), tokens, width}, 0, tokens);
      DeviceArray<TypeParam> in(gate_up, offset), out(expected);
      CUDA_CHECK(cudaMemset(out.data(), 0, expected.size() * sizeof(TypeParam)));
      swiglu<TypeParam>({in.data(), out.data(), tokens, width}, this->stream_);
      EXPECT_TRUE(close(out.to_host(), expected)) << tokens << " x " << width;
    }
  }
}

TYPED_TEST(GpuSwiglu, SaturatesAndPassesNanThrough) {
  std::vector<TypeParam> gate_up(16, from_float<TypeParam>(2.0f));
  const std::vector<float> gate{200.0f, -200.0f, std::nanf(""), kInfinity};
  std::transform(gate.begin(), gate.end(), gate_up.begin(), from_float<TypeParam>);
  gate_up[12] = from_float<TypeParam>(std::nanf(""));
  std::vector<TypeParam> expected(8);
  cpu::swiglu<TypeParam>({gate_up.data(), expected.data(), 1, 8}, 0, 1);
  DeviceArray<TypeParam> in(gate_up), out(gate_up);
  swiglu<TypeParam>({in.data(), out.data(), 1, 8}, this->stream_);
  auto actual = out.to_host();
  actual.resize(8);
  EXPECT_TRUE(close(actual, expected));
  EXPECT_TRUE(std::isnan(to_float(actual[2])));
  EXPECT_TRUE(std::isnan(to_float(actual[4])));
}

class GpuErrors : public GpuTest {};

TEST_F(GpuErrors, OfTheRuntimeAreThrown) {
  EXPECT_THROW(CUDA_CHECK(cudaSetDevice(1 << 20)), CudaError);
  cudaGetLastError();
}

}  // namespace
}  // namespace kvcalib::kernels
