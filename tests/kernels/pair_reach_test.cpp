// SPDX-License-Identifier: Apache-2.0
#include "kernels/pair_reach.h"

#include <gtest/gtest.h>

#include <bit>
#include <stdexcept>

#include "tests/kernels/reach_case.h"

namespace kvcalib::kernels {
namespace {

template <typename T>
class PairReach : public testing::Test {};
using ElementTypes = testing::Types<float, Half, Bfloat16>;
TYPED_TEST_SUITE(PairReach, ElementTypes);

TYPED_TEST(PairReach, IsWhatDoubleFinds) {
  for (const RotaryShape& shape : rotary_shapes()) {
    ReachCase<TypeParam> test(shape);
    cpu::pair_reach(test.arguments(), 0, shape.tokens);
    const std::vector<double> expected = test.expected();
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(test.reach[i], expected[i], 2e-6) << shape << ", " << i;
  }
}

TYPED_TEST(PairReach, IsWidenedByAnyPartOfTheTokens) {
  for (const RotaryShape& shape : rotary_shapes()) {
    ReachCase<TypeParam> whole(shape), parts(shape);
    cpu::pair_reach(whole.arguments(), 0, shape.tokens);
    cpu::pair_reach(parts.arguments(), shape.tokens / 2, shape.tokens);
    cpu::pair_reach(parts.arguments(), 0, shape.tokens / 2);
    EXPECT_EQ(parts.reach, whole.reach) << shape;
  }
}

TEST(PairReach, LeavesNaNAloneAndKnowsOneZero) {
  ReachCase<float> test({2, 1, 0, 1, 2, 0, false, false});
  test.rows.positions = {0, 0};
  test.rows.qkv = {std::nanf(""), 1.0f, 0, 0, -0.0f, -0.0f, 0, 0};
  cpu::pair_reach(test.arguments(), 0, 2);
  for (const float reach : test.reach)
    EXPECT_TRUE(std::bit_cast<uint32_t>(reach) == 0 || reach == 1.0f) << reach;
  test.rows.qkv[0] = std::numeric_limits<float>::infinity();
  cpu::pair_reach(test.arguments(), 0, 1);
  EXPECT_EQ(test.reach[0], std::numeric_limits<float>::infinity());
}

TEST(PairReach, RefusesPositionsBeyondTheTables) {
  ReachCase<float> test({2, 3, 1, 1, 4, 0, false, false});
  test.rows.positions[1] = 3;
  EXPECT_THROW(cpu::pair_reach(test.arguments(), 0, 2), std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels
