// SPDX-License-Identifier: Apache-2.0
#include "kernels/decode_attention.h"

#include <stdexcept>

#include "tests/gpu/device_array.h"
#include "tests/kernels/decode_case.h"

namespace kvcalib::kernels {
namespace {

// A cache's source on the GPU.
template <typename T>
class DeviceSource {
 public:
  // `offset`: 1 for a cache that no wide access fits.
  DeviceSource(const typename DecodeCase<T>::Source& source, int64_t offset)
      : coded_(!source.codes.empty()),
        values_(source.values, offset),
        codes_(source.codes, offset),
        scale_(source.scale),
        zero_(source.zero) {}

  CacheSource source() {
    if (!coded_) return {values_.data(), nullptr, nullptr};
    return {codes_.data(), scale_.data(), zero_.data()};
  }

 private:
  bool coded_;
  DeviceArray<T> values_;
  DeviceArray<uint8_t> codes_;
  DeviceArray<float> scale_, zero_;
};

template <typename T>
std::vector<T> attend(const DecodeCase<T>& test, cudaStream_t stream, int64_t offset = 0) {
  const DecodeShape& shape = test.shape;
  std::vector<T> out = test.no_results();
  const int64_t floats =
      decode_attention_scratch(shape.rows(), shape.heads, shape.head_dim, shape.most_keys());
  std::vector<float> scratch(static_cast<size_t>(floats), std::nanf(""));
  auto arguments = test.arguments(out, scratch);
  DeviceArray<T> queries(test.queries), own_keys(test.own_keys), own_values(test.own_values);
  DeviceArray<T> on_device(out);
  DeviceArray<float> device_scratch(scratch);
  DeviceArray<int32_t> tables(test.tables), keys(shape.keys);
  DeviceSource<T> key_cache(test.key_cache, offset), value_cache(test.value_cache, offset);
  arguments.queries = queries.data();
  arguments.key_cache = key_cache.source();
  arguments.value_cache = value_cache.source();
  arguments.block_tables = tables.data();
  arguments.keys = keys.data();
  if (shape.own) {
    arguments.own_keys = own_keys.data();
    arguments.own_values = own_values.data();
  }
  arguments.out = on_device.data();
  arguments.scratch = device_scratch.data();
  decode_attention(arguments, stream);
  return on_device.to_host();
}

template <typename T>
class GpuDecodeAttention : public GpuTest {};
TYPED_TEST_SUITE(GpuDecodeAttention, DeviceElementTypes);

TYPED_TEST(GpuDecodeAttention, AgreesWithTheDefinitionInDouble) {
  for (const DecodeShape& shape : decode_shapes()) {
    const DecodeCase<TypeParam> test(shape);
    const std::vector<double> expected = test.expected();
    for (const int64_t offset : {0, 1})
      expect_attended(test, expected, attend(test, this->stream_, offset), 3e-6);
  }
}

// Few keys have all the weight: maxima and sums of chunks differ by orders.
TYPED_TEST(GpuDecodeAttention, AgreesWithTheDefinitionWhereFewKeysCount) {
  for (const bool codes : {false, true}) {
    DecodeShape shape{8, 2, 128, {700, 30, 2000}};
    shape.codes = codes;
    const DecodeCase<TypeParam> test(shape, 12.0f);
    expect_attended(test, test.expected(), attend(test, this->stream_), 1e-4);
  }
}

TYPED_TEST(GpuDecodeAttention, TreatsARowAlikeInAnyCompany) {
  for (const DecodeShape& shape : decode_shapes()) {
    const DecodeCase<TypeParam> test(shape);
    const std::vector<TypeParam> all = attend(test, this->stream_);
    for (int64_t row = 0; row < shape.rows(); ++row) {
      const auto first = all.begin() + row * test.query_stride();
      EXPECT_TRUE(
          same_bits(attend(test.row(row), this->stream_), {first, first + test.query_stride()}))
          << shape << ", row " << row;
    }
  }
}

TYPED_TEST(GpuDecodeAttention, HasTheSameBitsWithNarrowAccesses) {
  for (const bool codes : {false, true}) {
    DecodeShape shape{4, 2, 128, {700, 64}};
    shape.codes = codes;
    const DecodeCase<TypeParam> test(shape);
    EXPECT_TRUE(same_bits(attend(test, this->stream_), attend(test, this->stream_, 1)));
  }
}

TYPED_TEST(GpuDecodeAttention, ShowsNanWhereItIsSeenAlone) {
  const DecodeShape shape{4, 2, 80, {300, 290, 280}};
  const auto nan = from_float<TypeParam>(std::nanf(""));
  const auto expect_nan = [&](const DecodeCase<TypeParam>& test, int64_t first, int64_t last) {
    const std::vector<TypeParam> out = attend(test, this->stream_);
    for (int64_t row = 0; row < shape.rows(); ++row) {
      for (int64_t head = 0; head < shape.heads; ++head) {
        const auto place =
            static_cast<size_t>(row * test.query_stride() + head * shape.head_dim + 3);
        EXPECT_EQ(std::isnan(to_float(out[place])), row == 1 && first <= head && head < last)
            << "row " << row << ", head " << head;
      }
    }
  };
  DecodeCase<TypeParam> query(shape), key(shape), value(shape);
  query.queries[static_cast<size_t>(query.query_stride() + 2 * shape.head_dim + 79)] = nan;
  expect_nan(query, 2, 3);
  key.key_cache.values[static_cast<size_t>(key.place(1, 200, 1) + 5)] = nan;
  expect_nan(key, 2, 4);
  value.value_cache.values[static_cast<size_t>(value.place(1, 289, 0) + 3)] = nan;
  expect_nan(value, 0, 2);
}

TYPED_TEST(GpuDecodeAttention, RefusesArgumentsThatDoNotFit) {
  DecodeCase<TypeParam> test({4, 2, 8, {70}});
  test.shape.heads = 3;
  EXPECT_THROW(attend(test, this->stream_), std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels
