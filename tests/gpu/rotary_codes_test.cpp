// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "kernels/quantize_dequantize.h"
#include "tests/gpu/device_array.h"
#include "tests/kernels/rotary_case.h"

namespace kvcalib::kernels {
namespace {

// Scales and zeros of the channels of K or of V, some of them too large or small for a reciprocal.
struct Channels {
  Channels(const RotaryShape& shape, unsigned seed)
      : scale(random_values<float>(shape.kv_heads * shape.head_dim, seed)),
        zero(random_values<float>(shape.kv_heads * shape.head_dim, seed + 1, 0.3f)),
        counts(static_cast<size_t>(shape.kv_heads)) {
    for (size_t i = 0; i < scale.size(); ++i) {
      scale[i] = (std::abs(scale[i]) * 6 + 1.0f) / 127.0f;
      if (seed % 2 == 0 && i % 61 == 0) scale[i] = std::ldexp(scale[i], i % 2 == 0 ? -95 : 105);
    }
  }

  // What quantize_dequantize's CPU twin makes of K (which = 0) or V (1).
  template <typename T>
  void expect(RotaryCase<T>& test, int64_t which) {
    const RotaryShape& shape = test.shape;
    cpu::quantize_dequantize<T>(
        {.values = test.qkv.data() + (shape.heads + which * shape.kv_heads) * shape.head_dim,
         .tokens = shape.tokens,
         .row_stride = shape.row_stride(),
         .kv_heads = shape.kv_heads,
         .head_dim = shape.head_dim,
         .code = CacheCode::kInt8,
         .scale = scale.data(),
         .zero = zero.data(),
         .counts = counts.data()},
        0, shape.tokens);
  }

  std::vector<float> scale, zero;
  std::vector<CodeCount> counts;
};

struct DeviceChannels {
  explicit DeviceChannels(const Channels& channels)
      : scale(channels.scale), zero(channels.zero), counts(channels.counts) {}
  Int8Channels argument() { return {scale.data(), zero.data(), counts.data()}; }

  DeviceArray<float> scale, zero;
  DeviceArray<CodeCount> counts;
};

template <typename T>
class GpuRotaryCodes : public GpuTest {
 protected:
  // The kernel on a copy; `change` may spoil its arguments.
  template <typename Change>
  void run(RotaryCase<T>& test, DeviceChannels& keys, DeviceChannels& values,
           const Change& change) {
    DeviceArray<T> qkv(test.qkv), bias(test.bias);
    DeviceArray<int32_t> positions(test.positions);
    DeviceArray<float> cosine(test.cosine), sine(test.sine), query_scale(test.query_scale);
    DeviceArray<int> nonfinite({test.nonfinite});
    RotaryObserveArguments<T> arguments = test.arguments();
    arguments.qkv = qkv.data();
    if (arguments.bias != nullptr) arguments.bias = bias.data();
    if (arguments.query_scale != nullptr) arguments.query_scale = query_scale.data();
    arguments.positions = positions.data();
    arguments.cosine = cosine.data();
    arguments.sine = sine.data();
    arguments.nonfinite = nonfinite.data();
    arguments.key_codes = keys.argument();
    arguments.value_codes = values.argument();
    change(arguments);
    rotary_observe(arguments, this->stream_);
    test.qkv = qkv.to_host();
    test.nonfinite = nonfinite.to_host()[0];
  }
};
TYPED_TEST_SUITE(GpuRotaryCodes, DeviceElementTypes);

TYPED_TEST(GpuRotaryCodes, AreWhatBothCpuTwinsMakeOneAfterTheOther) {
  const std::vector<RotaryShape> shapes = {
      {300, 300, 4, 4, 128, 0, false, false}, {70, 7, 8, 1, 128, 0, true, true},
      {131, 64, 6, 2, 64, 8, true, false},    {6, 100, 0, 3, 64, 16, false, false},
      {33, 3, 5, 5, 16, 0, false, false},     {1, 1, 2, 1, 256, 0, false, false},
      {4097, 512, 3, 2, 32, 0, false, false}};
  for (const RotaryShape& shape : shapes) {
    for (const unsigned seed : {40U, 43U}) {
      RotaryCase<TypeParam> expected(shape);
      expected.observes = false;
      expected.at(0, shape.heads, 1) = from_float<TypeParam>(std::nanf(""));
      RotaryCase<TypeParam> found = expected;
      Channels keys(shape, seed), values(shape, seed + 2);
      DeviceChannels device_keys(keys), device_values(values);
      this->run(found, device_keys, device_values, [](auto&) {});
      cpu::rotary_observe(expected.arguments(), 0, shape.tokens);
      keys.expect(expected, 0);
      values.expect(expected, 1);
      EXPECT_TRUE(same_bits(found.qkv, expected.qkv)) << shape;
      EXPECT_TRUE(device_keys.counts.to_host() == keys.counts) << shape;
      EXPECT_TRUE(device_values.counts.to_host() == values.counts) << shape;
      EXPECT_EQ(found.nonfinite, kNonfiniteKey) << shape;
    }
  }
}

TYPED_TEST(GpuRotaryCodes, AreRefusedWhereTheyCannotBe) {
  for (const RotaryShape& shape : {RotaryShape{5, 5, 2, 1, 96, 0, false, false},
                                   RotaryShape{5, 5, 2, 1, 128, 1, false, false}}) {
    RotaryCase<TypeParam> test(shape);
    test.observes = false;
    DeviceChannels keys(Channels(shape, 1)), values(Channels(shape, 3));
    EXPECT_THROW(this->run(test, keys, values, [](auto&) {}), std::invalid_argument) << shape;
  }
  const RotaryShape shape{5, 5, 2, 1, 128, 0, false, false};
  RotaryCase<TypeParam> test(shape);
  test.observes = false;
  DeviceChannels keys(Channels(shape, 1)), values(Channels(shape, 3));
  EXPECT_THROW(this->run(test, keys, values, [](auto& arguments) { arguments.value_codes = {}; }),
               std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels
