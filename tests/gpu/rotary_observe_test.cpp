// SPDX-License-Identifier: Apache-2.0
#include "kernels/rotary_observe.h"

#include "tests/gpu/device_array.h"
#include "tests/kernels/rotary_case.h"

namespace kvcalib::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The CPU twin over all tokens.
template <typename T>
RotaryCase<T> on_cpu(RotaryCase<T> test) {
  cpu::rotary_observe(test.arguments(), 0, test.shape.tokens);
  return test;
}

// The kernel, `launches` times over a share of the tokens each.
template <typename T>
RotaryCase<T> on_gpu(RotaryCase<T> test, cudaStream_t stream, int64_t offset = 0,
                     int64_t launches = 1) {
  DeviceArray<T> qkv(test.qkv, offset), bias(test.bias);
  DeviceArray<int32_t> positions(test.positions);
  DeviceArray<float> cosine(test.cosine), sine(test.sine), query_scale(test.query_scale);
  DeviceArray<float> key_minimum(test.ranges[0]), key_maximum(test.ranges[1]),
      value_minimum(test.ranges[2]), value_maximum(test.ranges[3]);
  DeviceArray<int> nonfinite({test.nonfinite});
  auto arguments = test.arguments();
  if (arguments.bias != nullptr) arguments.bias = bias.data();
  if (arguments.query_scale != nullptr) arguments.query_scale = query_scale.data();
  arguments.cosine = cosine.data();
  arguments.sine = sine.data();
  if (arguments.observes()) {
    arguments.keys = {key_minimum.data(), key_maximum.data()};
    arguments.values = {value_minimum.data(), value_maximum.data()};
  }
  arguments.nonfinite = nonfinite.data();
  arguments.tokens = test.shape.tokens / launches;
  for (int64_t launch = 0; launch < launches; ++launch) {
    arguments.qkv = qkv.data() + launch * arguments.tokens * arguments.row_stride;
    arguments.positions = positions.data() + launch * arguments.tokens;
    rotary_observe(arguments, stream);
  }
  test.qkv = qkv.to_host();
  test.ranges[0] = key_minimum.to_host();
  test.ranges[1] = key_maximum.to_host();
  test.ranges[2] = value_minimum.to_host();
  test.ranges[3] = value_maximum.to_host();
  test.nonfinite = nonfinite.to_host()[0];
  return test;
}

template <typename T>
void expect_same(const RotaryCase<T>& gpu, const RotaryCase<T>& cpu) {
  EXPECT_TRUE(same_bits(gpu.qkv, cpu.qkv)) << gpu.shape;
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(same_bits(gpu.ranges[i], cpu.ranges[i])) << gpu.shape << ", range " << i;
  }
  EXPECT_EQ(gpu.nonfinite, cpu.nonfinite) << gpu.shape;
}

template <typename T>
class GpuRotaryObserve : public GpuTest {};
TYPED_TEST_SUITE(GpuRotaryObserve, DeviceElementTypes);

TYPED_TEST(GpuRotaryObserve, EqualsTheCpuTwinBitForBit) {
  std::vector<RotaryShape> shapes = rotary_shapes();
  shapes.push_back({200, 33, 20, 4, 128, 0, true, false});
  shapes.push_back({200, 33, 20, 4, 128, 0, false, true});
  shapes.push_back({4097, 512, 5, 5, 64, 16, false, false});
  for (const RotaryShape& shape : shapes) {
    const RotaryCase<TypeParam> before(shape);
    const auto expected = on_cpu(before);
    expect_same(on_gpu(before, this->stream_), expected);
    expect_same(on_gpu(before, this->stream_, 1), expected);
  }
}

TYPED_TEST(GpuRotaryObserve, MergesOneLaunchAfterAnother) {
  const RotaryCase<TypeParam> before({320, 32, 4, 2, 128, 0, true, false});
  expect_same(on_gpu(before, this->stream_, 0, 5), on_cpu(before));
}

TYPED_TEST(GpuRotaryObserve, KeepsRangesOfOneSignAndTakesEitherZeroForPlusZero) {
  RotaryCase<TypeParam> test({130, 130, 1, 2, 128, 0, false, false});
  for (int64_t token = 0; token < 130; ++token) {
    for (int64_t channel = 0; channel < 128; ++channel) {
      const float magnitude = static_cast<float>(1 + (token * 37 + channel) % 127);
      test.at(token, 3, channel) = from_float<TypeParam>(channel % 2 == 0 ? magnitude : -magnitude);
      test.at(token, 4, channel) = from_float<TypeParam>(token % 2 == 0 ? 0.0f : -0.0f);
    }
  }
  const auto gpu = on_gpu(test, this->stream_);
  expect_same(gpu, on_cpu(test));
  EXPECT_GT(gpu.ranges[2][0], 0.0f);
  EXPECT_LT(gpu.ranges[3][1], 0.0f);
  EXPECT_FALSE(std::signbit(gpu.ranges[2][128]));
  EXPECT_FALSE(std::signbit(gpu.ranges[3][128]));
}

TYPED_TEST(GpuRotaryObserve, ReportsNanAndInfinityInKeysAndValuesApart) {
  for (const float bad : {std::nanf(""), kInfinity, -kInfinity}) {
    for (int64_t head = 0; head < 4; ++head) {
      for (const int64_t channel : {0, 7, 63, 64, 127}) {
        RotaryCase<TypeParam> test({67, 67, 2, 1, 128, 0, false, false});
        test.at(66, head, channel) = from_float<TypeParam>(bad);
        const auto gpu = on_gpu(test, this->stream_);
        EXPECT_EQ(gpu.nonfinite, head < 2 ? 0 : head == 2 ? kNonfiniteKey : kNonfiniteValue);
        expect_same(gpu, on_cpu(test));
        expect_same(on_gpu(test, this->stream_, 1), on_cpu(test));
      }
    }
  }
}

TYPED_TEST(GpuRotaryObserve, WritesAndReportsTheSameWithoutRanges) {
  for (const RotaryShape& shape : rotary_shapes()) {
    RotaryCase<TypeParam> before(shape);
    before.at(1, shape.heads, 1) = from_float<TypeParam>(kInfinity);
    for (const int64_t offset : {0, 1}) {
      before.observes = true;
      const auto with_ranges = on_gpu(before, this->stream_, offset);
      before.observes = false;
      const auto without_ranges = on_gpu(before, this->stream_, offset);
      EXPECT_TRUE(same_bits(without_ranges.qkv, with_ranges.qkv)) << shape << ", " << offset;
      expect_same(without_ranges, on_cpu(before));
      EXPECT_EQ(without_ranges.nonfinite, kNonfiniteKey) << shape;
    }
  }
}

TYPED_TEST(GpuRotaryObserve, KeepsTheFlagsThatAreSet) {
  RotaryCase<TypeParam> test({3, 3, 1, 1, 128, 0, false, false});
  test.nonfinite = kNonfiniteValue;
  test.at(0, 1, 5) = from_float<TypeParam>(kInfinity);
  EXPECT_EQ(on_gpu(test, this->stream_).nonfinite, kNonfiniteKey | kNonfiniteValue);
}

}  // namespace
}  // namespace kvcalib::kernels
