// SPDX-License-Identifier: Apache-2.0
#include "kernels/head_norm.h"

#include <cmath>
#include <stdexcept>

#include "tests/kernels/head_norm_case.h"

namespace kvcalib::kernels {
namespace {

// What a head of x becomes, by the definition; the roundings to T may fall the other way where the
// mean square is summed in another order.
template <typename T>
void expect_normalised(const T* before, const T* after, const T* weight, int64_t width) {
  double squares = 0.0;
  for (int64_t i = 0; i < width; ++i)
    squares += static_cast<double>(to_float(before[i])) * to_float(before[i]);
  const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(width) + 1e-6);
  for (int64_t i = 0; i < width; ++i) {
    const double expected = to_float(before[i]) * inverse * to_float(weight[i]);
    ASSERT_NEAR(to_float(after[i]), expected,
                std::abs(expected) * (unit_roundoff<T>() + 8 * 0x1p-23) + 0x1p-23)
        << "channel " << i << " of " << width;
  }
}

template <typename T>
class HeadNorm : public ::testing::Test {};
TYPED_TEST_SUITE(HeadNorm, ElementTypes);

TYPED_TEST(HeadNorm, NormalisesEachHeadOfQAndKAndLeavesTheRest) {
  for (const HeadNormShape& shape : head_norm_shapes()) {
    HeadNormCase<TypeParam> before(shape);
    HeadNormCase<TypeParam> after = before;
    cpu::head_norm(after.arguments(), 0, shape.tokens);
    for (int64_t token = 0; token < shape.tokens; ++token) {
      const int64_t start = token * shape.row_stride();
      for (int64_t head = 0; head < shape.heads + shape.kv_heads; ++head) {
        const int64_t first = start + head * shape.head_dim;
        const auto& weight = head < shape.heads ? before.query_weight : before.key_weight;
        expect_normalised(before.qkv.data() + first, after.qkv.data() + first, weight.data(),
                          shape.head_dim);
      }
      for (int64_t i = shape.row_stride() - shape.others; i < shape.row_stride(); ++i)
        ASSERT_EQ(to_float(after.qkv[start + i]), to_float(before.qkv[start + i]));
    }
  }
}

TYPED_TEST(HeadNorm, DoesNotDependOnTheSplit) {
  const HeadNormCase<TypeParam> before({9, 3, 2, 80, 160});
  HeadNormCase<TypeParam> whole = before;
  cpu::head_norm(whole.arguments(), 0, 9);
  for (const int64_t split : {1, 4, 8}) {
    HeadNormCase<TypeParam> parts = before;
    cpu::head_norm(parts.arguments(), split, 9);
    cpu::head_norm(parts.arguments(), 0, split);
    EXPECT_TRUE(same_bits(parts.qkv, whole.qkv));
  }
}

TYPED_TEST(HeadNorm, MakesNanOfAHeadThatHoldsNan) {
  HeadNormCase<TypeParam> test({2, 1, 1, 64, 64});
  test.qkv[192 + 64] = from_float<TypeParam>(std::nanf(""));  // k of the second token
  cpu::head_norm(test.arguments(), 0, 2);
  for (int64_t i = 0; i < 64; ++i) {
    EXPECT_TRUE(std::isfinite(to_float(test.qkv[i])));
    EXPECT_TRUE(std::isfinite(to_float(test.qkv[192 + i])));
    EXPECT_TRUE(std::isnan(to_float(test.qkv[192 + 64 + i])));
  }
}

TEST(HeadNormOfHalves, RoundsBeforeItWeighs) {
  // 3 / sqrt(5) is 1.3418 as half; times 1.0361 that is 1.3906, while unrounded it is 1.3896.
  std::vector<Half> values{from_float<Half>(3.0f), from_float<Half>(1.0f)};
  const std::vector<Half> weight(2, from_float<Half>(1.0361328125f));
  cpu::head_norm<Half>({values.data(), nullptr, weight.data(), 1, 2, 0, 1, 2, 0.0f}, 0, 1);
  EXPECT_EQ(to_float(values[0]), 1.390625f);
  EXPECT_NE(to_float(values[0]), rounded<Half>(3.0f / std::sqrt(5.0f) * 1.0361328125f));
}

TEST(HeadNormArguments, RefuseQHeadsWithoutAWeightAndRowsThatDoNotFit) {
  HeadNormCase<float> test({1, 1, 1, 8, 0});
  auto arguments = test.arguments();
  arguments.query_weight = nullptr;
  EXPECT_THROW(cpu::head_norm(arguments, 0, 1), std::invalid_argument);
  arguments = test.arguments();
  arguments.row_stride = 15;
  EXPECT_THROW(cpu::head_norm(arguments, 0, 1), std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels
