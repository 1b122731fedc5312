// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "tests/gpu/device_array.h"
#include "tests/kernels/head_norm_case.h"

namespace kvcalib::kernels {
namespace {

template <typename T>
std::vector<T> on_gpu(HeadNormCase<T> test, cudaStream_t stream, int64_t offset = 0) {
  DeviceArray<T> qkv(test.qkv, offset), query_weight(test.query_weight),
      key_weight(test.key_weight);
  auto arguments = test.arguments();
  arguments.qkv = qkv.data();
  if (arguments.query_weight != nullptr) arguments.query_weight = query_weight.data();
  arguments.key_weight = key_weight.data();
  head_norm(arguments, stream);
  return qkv.to_host();
}

// Equal but for what another order of summation does to the two roundings.
template <typename T>
void expect_close(const std::vector<T>& found, const std::vector<T>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    const float a = to_float(found[i]), b = to_float(expected[i]);
    ASSERT_NEAR(a, b, std::abs(b) * 2 * std::max(unit_roundoff<T>(), 16 * 0x1p-23) + 0x1p-23)
        << "element " << i;
  }
}

template <typename T>
class GpuHeadNorm : public GpuTest {};
TYPED_TEST_SUITE(GpuHeadNorm, DeviceElementTypes);

TYPED_TEST(GpuHeadNorm, EqualsTheCpuTwin) {
  for (const HeadNormShape& shape : head_norm_shapes()) {
    const HeadNormCase<TypeParam> before(shape);
    HeadNormCase<TypeParam> expected = before;
    cpu::head_norm(expected.arguments(), 0, shape.tokens);
    for (const int64_t offset : {0, 1}) {
      SCOPED_TRACE(::testing::Message() << shape.head_dim << " offset " << offset);
      expect_close(on_gpu(before, this->stream_, offset), expected.qkv);
    }
  }
}

TYPED_TEST(GpuHeadNorm, TreatsAHeadAlikeInAnyCompany) {
  const HeadNormCase<TypeParam> many({300, 4, 2, 128, 256});
  HeadNormCase<TypeParam> one({1, 0, 1, 128, 0});
  one.key_weight = many.key_weight;
  const auto start = 211 * many.shape.row_stride() + 5 * 128;  // the second k head
  std::copy_n(many.qkv.begin() + start, 128, one.qkv.begin());
  const auto among = on_gpu(many, this->stream_);
  const auto alone = on_gpu(one, this->stream_);
  EXPECT_TRUE(same_bits(alone, {among.begin() + start, among.begin() + start + 128}));
}

TYPED_TEST(GpuHeadNorm, MakesNanOfAHeadThatHoldsNan) {
  HeadNormCase<TypeParam> test({2, 1, 1, 64, 64});
  test.qkv[192 + 70] = from_float<TypeParam>(std::nanf(""));
  const auto found = on_gpu(test, this->stream_);
  for (size_t i = 192 + 64; i < 192 + 128; ++i) EXPECT_TRUE(std::isnan(to_float(found[i])));
  EXPECT_TRUE(std::isfinite(to_float(found[191])) && std::isfinite(to_float(found[192])));
}

}  // namespace
}  // namespace kvcalib::kernels
