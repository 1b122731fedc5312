// SPDX-License-Identifier: Apache-2.0
#include "kernels/rms_norm.h"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "tests/kernels/kernel_test_data.h"

namespace kvcalib::kernels {
namespace {

constexpr float kEpsilon = 1e-5f;

// The operands of one call, and what it wrote.
template <typename T>
struct Case {
  Case(int64_t tokens, int64_t width)
      : tokens(tokens),
        width(width),
        hidden(random_values<T>(tokens * width, 1, 2.0f)),
        delta(random_values<T>(tokens * width, 2)),
        bias(random_values<T>(width, 3)),
        weight(random_values<T>(width, 4)),
        out(hidden.size(), from_float<T>(77.0f)) {}

  RmsNormArguments<T> arguments() {
    return {hidden.data(), delta.data(), bias.data(), weight.data(), out.data(),
            tokens,        width,        kEpsilon,    &nonfinite};
  }

  int64_t tokens, width;
  std::vector<T> hidden, delta, bias, weight, out;
  int nonfinite = 0;
};

template <typename T>
void expect_normalised(const Case<T>& before, const Case<T>& after, bool delta, bool bias) {
  for (int64_t token = 0; token < before.tokens; ++token) {
    double squares = 0.0;
    std::vector<float> sums;
    for (int64_t i = 0; i < before.width; ++i) {
      const int64_t at = token * before.width + i;
      float sum = to_float(before.hidden[at]);
      if (delta) sum += to_float(before.delta[at]);
      if (bias) sum += to_float(before.bias[i]);
      sums.push_back(sum);
      squares += static_cast<double>(sum) * sum;
      ASSERT_EQ(to_float(after.hidden[at]), rounded<T>(sum));
    }
    const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(before.width) + kEpsilon);
    for (int64_t i = 0; i < before.width; ++i) {
      const double expected = rounded<T>(sums[i]) * inverse * to_float(before.weight[i]);
      ASSERT_NEAR(to_float(after.out[token * before.width + i]), expected,
                  std::abs(expected) * (unit_roundoff<T>() / 2 + 8 * 0x1p-23) + 0x1p-25)
          << token << ' ' << i;
    }
  }
  EXPECT_EQ(after.nonfinite, 0);
}

template <typename T>
class RmsNorm : public ::testing::Test {};
TYPED_TEST_SUITE(RmsNorm, ElementTypes);

TYPED_TEST(RmsNorm, NormalisesTheSumOfHiddenDeltaAndBias) {
  for (const int64_t width : {1, 5, 63, 64, 65, 300}) {
    const Case<TypeParam> before(4, width);
    Case<TypeParam> after = before;
    cpu::rms_norm(after.arguments(), 0, 4);
    expect_normalised(before, after, true, true);
  }
}

TYPED_TEST(RmsNorm, LeavesHiddenAloneWithoutDelta) {
  const Case<TypeParam> before(3, 67);
  Case<TypeParam> after = before;
  auto arguments = after.arguments();
  arguments.delta = arguments.delta_bias = nullptr;
  cpu::rms_norm(arguments, 0, 3);
  EXPECT_TRUE(same_bits(after.hidden, before.hidden));
  expect_normalised(before, after, false, false);
}

TYPED_TEST(RmsNorm, DoesNotDependOnTheSplit) {
  const Case<TypeParam> before(9, 131);
  Case<TypeParam> whole = before;
  cpu::rms_norm(whole.arguments(), 0, 9);
  for (const int64_t split : {1, 4, 8}) {
    Case<TypeParam> parts = before;
    cpu::rms_norm(parts.arguments(), split, 9);
    cpu::rms_norm(parts.arguments(), 0, split);
    EXPECT_TRUE(same_bits(parts.hidden, whole.hidden));
    EXPECT_TRUE(same_bits(parts.out, whole.out));
  }
}

TYPED_TEST(RmsNorm, ReportsNanAndInfinityInAnyOperandAndPlace) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::nanf(""), infinity, -infinity}) {
    for (const int64_t column : {0, 64, 66}) {
      for (const int operand : {0, 1, 2}) {
        Case<TypeParam> test(3, 67);
        auto& target = operand == 0 ? test.hidden : operand == 1 ? test.delta : test.bias;
        target[(operand == 2 ? 0 : 2 * 67) + column] = from_float<TypeParam>(bad);
        if (operand != 2) {
          cpu::rms_norm(test.arguments(), 0, 2);
          EXPECT_EQ(test.nonfinite, 0);
        }
        cpu::rms_norm(test.arguments(), 2, 3);
        EXPECT_EQ(test.nonfinite, 1) << bad << ' ' << column << ' ' << operand;
      }
    }
  }
}

TEST(RmsNormOfHalves, TakesTheSquaresBeforeRounding) {
  // 2048 + 1 is 2048 in half: the two readings of the mean square differ by a part in a thousand.
  std::vector<Half> hidden(2, from_float<Half>(2048.0f)), delta(2, from_float<Half>(1.0f));
  std::vector<Half> weight(2, from_float<Half>(2.0f)), out(2);
  weight[0] = from_float<Half>(2.001953125f);
  int nonfinite = 0;
  cpu::rms_norm<Half>(
      {hidden.data(), delta.data(), nullptr, weight.data(), out.data(), 1, 2, kEpsilon, &nonfinite},
      0, 1);
  EXPECT_EQ(to_float(hidden[0]), 2048.0f);
  EXPECT_EQ(to_float(out[0]), rounded<Half>(2.001953125f * 2048.0f / 2049.0f));
  EXPECT_EQ(to_float(out[1]), rounded<Half>(2.0f * 2048.0f / 2049.0f));
  EXPECT_LT(to_float(out[1]), 2.0f);
}

TEST(RmsNormArguments, RefuseABiasWithoutDelta) {
  Case<float> test(1, 8);
  auto arguments = test.arguments();
  arguments.delta = nullptr;
  EXPECT_THROW(cpu::rms_norm(arguments, 0, 1), std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels
