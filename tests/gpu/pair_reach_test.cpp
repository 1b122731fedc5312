// SPDX-License-Identifier: Apache-2.0
#include "kernels/pair_reach.h"

#include "tests/gpu/device_array.h"
#include "tests/kernels/reach_case.h"

namespace kvcalib::kernels {
namespace {

// The kernel's reach, from that of the case, `launches` times over a share of the tokens each.
template <typename T>
std::vector<float> on_gpu(ReachCase<T> test, cudaStream_t stream, int64_t launches = 1) {
  DeviceArray<T> qkv(test.rows.qkv);
  DeviceArray<int32_t> positions(test.rows.positions);
  DeviceArray<float> cosine(test.rows.cosine), sine(test.rows.sine), reach(test.reach);
  PairReachArguments<T> arguments = test.arguments();
  arguments.cosine = cosine.data();
  arguments.sine = sine.data();
  arguments.reach = reach.data();
  arguments.tokens /= launches;
  for (int64_t launch = 0; launch < launches; ++launch) {
    arguments.qkv = qkv.data() + launch * arguments.tokens * arguments.row_stride;
    arguments.positions = positions.data() + launch * arguments.tokens;
    pair_reach(arguments, stream);
  }
  return reach.to_host();
}

template <typename T>
std::vector<float> on_cpu(ReachCase<T> test) {
  cpu::pair_reach(test.arguments(), 0, test.rows.shape.tokens);
  return test.reach;
}

template <typename T>
class GpuPairReach : public GpuTest {};
TYPED_TEST_SUITE(GpuPairReach, DeviceElementTypes);

TYPED_TEST(GpuPairReach, HasTheBitsOfTheCpuTwin) {
  for (const RotaryShape& shape : rotary_shapes()) {
    const ReachCase<TypeParam> test(shape);
    EXPECT_TRUE(same_bits(on_gpu(test, this->stream_), on_cpu(test))) << shape;
  }
}

TYPED_TEST(GpuPairReach, IsWidenedByEveryLaunch) {
  const ReachCase<TypeParam> test({4096, 1024, 3, 3, 128, 0, false, false});
  EXPECT_TRUE(same_bits(on_gpu(test, this->stream_, 4), on_cpu(test)));
}

TYPED_TEST(GpuPairReach, LeavesNaNAloneAndKnowsOneZero) {
  ReachCase<TypeParam> test({2, 1, 0, 1, 2, 0, false, false});
  test.rows.positions = {0, 0};
  for (const auto& values : {std::array{std::nanf(""), 1.0f}, std::array{-0.0f, -0.0f}}) {
    test.rows.at(0, 0, 0) = from_float<TypeParam>(values[0]);
    test.rows.at(0, 0, 1) = from_float<TypeParam>(values[1]);
    test.rows.at(1, 0, 0) = test.rows.at(1, 0, 1) = from_float<TypeParam>(-0.0f);
    EXPECT_TRUE(same_bits(on_gpu(test, this->stream_), on_cpu(test)));
  }
}

}  // namespace
}  // namespace kvcalib::kernels
