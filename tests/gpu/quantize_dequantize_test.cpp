// SPDX-License-Identifier: Apache-2.0
#include "kernels/quantize_dequantize.h"

#include <cmath>
#include <stdexcept>

#include "tests/gpu/device_array.h"
#include "tests/kernels/quantize_case.h"

namespace kvcalib::kernels {
namespace {

template <typename T>
QuantizeCase<T> on_gpu(QuantizeCase<T> test, cudaStream_t stream, int64_t offset = 0) {
  DeviceArray<T> values(test.values, offset);
  DeviceArray<float> scale(test.scale), zero(test.zero);
  DeviceArray<CodeCount> counts(test.counts);
  QuantizeDequantizeArguments<T> arguments = test.arguments();
  arguments.values = values.data();
  if (arguments.scale != nullptr) arguments.scale = scale.data();
  if (arguments.zero != nullptr) arguments.zero = zero.data();
  if (arguments.counts != nullptr) arguments.counts = counts.data();
  quantize_dequantize(arguments, stream);
  test.values = values.to_host();
  test.counts = counts.to_host();
  return test;
}

template <typename T>
void expect_the_cpu_twin(const QuantizeCase<T>& before, cudaStream_t stream, int64_t offset = 0) {
  QuantizeCase<T> expected = before;
  cpu::quantize_dequantize(expected.arguments(), 0, before.shape.tokens);
  const QuantizeCase<T> found = on_gpu(before, stream, offset);
  EXPECT_TRUE(same_bits(found.values, expected.values))
      << before.shape << ", code " << static_cast<int>(before.code) << ", offset " << offset;
  EXPECT_TRUE(found.counts == expected.counts)
      << before.shape << ", code " << static_cast<int>(before.code) << ", offset " << offset;
}

template <typename T>
class GpuQuantizeDequantize : public GpuTest {};
TYPED_TEST_SUITE(GpuQuantizeDequantize, DeviceElementTypes);

TYPED_TEST(GpuQuantizeDequantize, HasTheBitsAndCountsOfTheCpuTwin) {
  for (const CacheCode code : kCacheCodes) {
    for (const QuantizeShape& shape : quantize_shapes()) {
      for (const int64_t offset : {0, 1}) {
        QuantizeCase<TypeParam> test(shape, code);
        expect_the_cpu_twin(test, this->stream_, offset);
        test.counted = false;
        expect_the_cpu_twin(test, this->stream_, offset);
        test.counted = true;
        test.make_special();
        expect_the_cpu_twin(test, this->stream_, offset);
      }
    }
  }
}

// In channels of scales from 2^-120 to 2^120, plain divisors and others, and in heads of every
// neighbourhood.
TYPED_TEST(GpuQuantizeDequantize, HasTheBitsOfTheCpuTwinForAllNumbers) {
  for (const CacheCode code : kCacheCodes) {
    QuantizeCase<TypeParam> test({256, 1, 256, 0}, code);
    for (size_t i = 0; i < test.values.size(); ++i) test.values[i] = {static_cast<uint16_t>(i)};
    expect_the_cpu_twin(test, this->stream_);
    const std::vector<float> mantissas = test.scale;
    for (size_t i = 0; i < 256; ++i)
      test.scale[i] = std::ldexp(mantissas[i], static_cast<int>(i) * 15 / 16 - 120);
    expect_the_cpu_twin(test, this->stream_);
    for (float& scale : test.scale) scale = 0x1.fffffep-7f;
    expect_the_cpu_twin(test, this->stream_);
  }
}

// Enough tokens for many blocks, whose counts meet.
TYPED_TEST(GpuQuantizeDequantize, HasTheBitsAndCountsOfTheCpuTwinForManyTokens) {
  for (const CacheCode code : kCacheCodes) {
    QuantizeCase<TypeParam> test({20000, 8, 128, 256}, code);
    expect_the_cpu_twin(test, this->stream_);
    expect_the_cpu_twin(QuantizeCase<TypeParam>({70000, 1, 8, 0}, code), this->stream_);
    test.shape.tokens = 0;
    expect_the_cpu_twin(test, this->stream_);
  }
}

TYPED_TEST(GpuQuantizeDequantize, AddsToItsCounts) {
  QuantizeCase<TypeParam> test({50, 2, 64, 0}, CacheCode::kInt8);
  test.counts[0] = {1000, 500, -100, -90};
  test.counts[1] = {uint64_t{1} << 40, uint64_t{1} << 39, -128, 127};
  expect_the_cpu_twin(test, this->stream_);
}

TYPED_TEST(GpuQuantizeDequantize, RefusesArgumentsThatDoNotFit) {
  QuantizeCase<TypeParam> test({1, 2, 8, 0}, CacheCode::kInt8);
  test.shape.others = -1;
  EXPECT_THROW(quantize_dequantize(test.arguments(), this->stream_), std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels
