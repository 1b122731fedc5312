// SPDX-License-Identifier: Apache-2.0
#include "kernels/decode_attention.h"

#include <stdexcept>

#include "tests/gpu/device_array.h"
#include "tests/kernels/decode_case.h"

namespace kvcalib::kernels {
namespace {

template <typename T>
std::vector<T> on_gpu(DecodeCase<T> test, cudaStream_t stream) {
  const std::vector<float> scratch(static_cast<size_t>(decode_attention_scratch(
      test.shape.rows(), test.shape.heads, test.shape.head_dim, test.shape.most_keys())));
  DeviceArray<T> queries(test.queries), own_keys(test.own_keys), own_values(test.own_values);
  DeviceArray<T> plain(test.plain), out(test.out);
  DeviceArray<uint8_t> codes(test.codes);
  DeviceArray<float> scale(test.scale), zero(test.zero), parts(scratch);
  DeviceArray<int32_t> tables(test.tables), keys(test.shape.keys);
  DecodeAttentionArguments<T> arguments = test.arguments();
  arguments.queries = queries.data();
  test.set_cache(arguments, test.shape.codes ? static_cast<void*>(codes.data()) : plain.data(),
                 scale.data(), zero.data());
  arguments.tables = tables.data();
  arguments.keys = keys.data();
  if (test.shape.own) {
    arguments.own_keys = own_keys.data();
    arguments.own_values = own_values.data();
  }
  arguments.scratch = parts.data();
  arguments.out = out.data();
  decode_attention(arguments, stream);
  return out.to_host();
}

template <typename T>
class GpuDecodeAttention : public GpuTest {};
TYPED_TEST_SUITE(GpuDecodeAttention, DeviceElementTypes);

TYPED_TEST(GpuDecodeAttention, AgreesWithASoftmaxInDouble) {
  for (const DecodeShape& shape : decode_shapes()) {
    const DecodeCase<TypeParam> test(shape);
    const std::vector<double> expected = test.expected();
    const std::vector<float> found = widened(on_gpu(test, this->stream_));
    // The reference reads codes back in half precision, the kernel as they are.
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(found[i], expected[i], 3e-3 + std::abs(expected[i]) * unit_roundoff<TypeParam>())
          << shape << ", " << i;
  }
}

TYPED_TEST(GpuDecodeAttention, GivesARowTheSameBitsAlone) {
  for (const DecodeShape& shape : decode_shapes()) {
    const DecodeCase<TypeParam> test(shape);
    const std::vector<TypeParam> all = on_gpu(test, this->stream_);
    const int64_t width = shape.heads * shape.head_dim;
    for (int64_t row = 0; row < shape.rows(); ++row)
      EXPECT_TRUE(same_bits(
          on_gpu(row_alone(test, row), this->stream_),
          std::vector<TypeParam>(all.begin() + row * width, all.begin() + (row + 1) * width)))
          << shape << ", row " << row;
  }
}

TYPED_TEST(GpuDecodeAttention, RefusesHeadsThatAreNotOfWholeAccesses) {
  EXPECT_THROW(on_gpu(DecodeCase<TypeParam>({2, 2, 24, {5}, true}), this->stream_),
               std::invalid_argument);
  EXPECT_THROW(on_gpu(DecodeCase<TypeParam>({2, 2, 20, {5}, false}), this->stream_),
               std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels
