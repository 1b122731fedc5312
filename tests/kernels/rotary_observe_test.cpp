// SPDX-License-Identifier: Apache-2.0
#include "kernels/rotary_observe.h"

#include <algorithm>
#include <stdexcept>

#include "tests/kernels/rotary_case.h"

namespace kvcalib::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename T>
RotaryCase<T> observed(RotaryCase<T> test) {
  cpu::rotary_observe(test.arguments(), 0, test.shape.tokens);
  return test;
}

// One element at a time from the definition.
template <typename T>
float expected_element(RotaryCase<T>& before, int64_t token, int64_t head, int64_t channel) {
  const RotaryShape& shape = before.shape;
  const auto biased = [&](int64_t c) {
    const float value = to_float(before.at(token, head, c));
    const float bias = to_float(before.bias[head * shape.head_dim + c]);
    return shape.bias ? rounded<T>(value + bias) : value;
  };
  if (head >= shape.heads + shape.kv_heads) return biased(channel);
  const int64_t half = shape.head_dim / 2;
  const int64_t position = before.positions[static_cast<size_t>(token)];
  const int64_t pair = channel / 2;
  const bool second = channel % 2 == 1;
  const float x0 = biased(2 * pair);
  const float x1 = biased(2 * pair + 1);
  // volatile: the two products are rounded before they are added.
  const volatile float left = before.cosine[position * half + pair] * (second ? x1 : x0);
  const volatile float right = before.sine[position * half + pair] * (second ? x0 : x1);
  const float rotated = rounded<T>(second ? left + right : left - right);
  const bool scaled = shape.query_scale && head < shape.heads;
  return scaled ? rounded<T>(rotated * before.query_scale[position]) : rotated;
}

template <typename T>
class RotaryObserve : public ::testing::Test {};
TYPED_TEST_SUITE(RotaryObserve, ElementTypes);

TYPED_TEST(RotaryObserve, BiasesRotatesAndScalesToTheBit) {
  for (const RotaryShape& shape : rotary_shapes()) {
    RotaryCase<TypeParam> before(shape);
    RotaryCase<TypeParam> after = observed(before);
    for (int64_t token = 0; token < shape.tokens; ++token) {
      for (int64_t head = 0; head < shape.heads + 2 * shape.kv_heads; ++head) {
        for (int64_t channel = 0; channel < shape.head_dim; ++channel) {
          ASSERT_EQ(to_float(after.at(token, head, channel)),
                    expected_element(before, token, head, channel))
              << shape << ": " << token << ' ' << head << ' ' << channel;
        }
      }
      for (int64_t i = shape.columns(); i < shape.row_stride(); ++i) {
        const int64_t at = token * shape.row_stride() + i;
        ASSERT_EQ(to_float(after.qkv[at]), to_float(before.qkv[at])) << "padding of " << shape;
      }
    }
  }
}

TYPED_TEST(RotaryObserve, KeepsTheRangeOfWhatItStored) {
  for (const RotaryShape& shape : rotary_shapes()) {
    RotaryCase<TypeParam> after = observed(RotaryCase<TypeParam>(shape));
    for (int64_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
      for (int64_t channel = 0; channel < shape.head_dim; ++channel) {
        for (const bool value : {false, true}) {
          const int64_t head = shape.heads + (value ? shape.kv_heads : 0) + kv_head;
          float minimum = kInfinity;
          float maximum = -kInfinity;
          for (int64_t token = 0; token < shape.tokens; ++token) {
            minimum = std::min(minimum, to_float(after.at(token, head, channel)));
            maximum = std::max(maximum, to_float(after.at(token, head, channel)));
          }
          const int64_t at = kv_head * shape.head_dim + channel;
          ASSERT_EQ(after.ranges[value ? 2 : 0][at], minimum) << shape;
          ASSERT_EQ(after.ranges[value ? 3 : 1][at], maximum) << shape;
        }
      }
    }
    EXPECT_EQ(after.nonfinite, 0);
  }
}

TYPED_TEST(RotaryObserve, DoesNotDependOnTheSplit) {
  for (const RotaryShape& shape : rotary_shapes()) {
    const RotaryCase<TypeParam> before(shape);
    const RotaryCase<TypeParam> whole = observed(before);
    for (const int64_t split : {int64_t{1}, shape.tokens / 2, shape.tokens - 1}) {
      RotaryCase<TypeParam> parts = before;
      cpu::rotary_observe(parts.arguments(), split, shape.tokens);
      cpu::rotary_observe(parts.arguments(), 0, split);
      EXPECT_TRUE(same_bits(parts.qkv, whole.qkv)) << shape;
      for (int i = 0; i < 4; ++i) {
        EXPECT_TRUE(same_bits(parts.ranges[i], whole.ranges[i])) << shape;
      }
    }
  }
}

// The second half of a window alone, at its positions, has the bits that it has in the whole
// window.
TYPED_TEST(RotaryObserve, TurnsATokenByItsPositionWhereverItStands) {
  RotaryCase<TypeParam> whole({14, 20, 2, 1, 8, 0, true, true});
  RotaryCase<TypeParam> part({7, 20, 2, 1, 8, 0, true, true});
  part.bias = whole.bias;
  part.qkv.assign(whole.qkv.begin() + 7 * whole.shape.row_stride(), whole.qkv.end());
  std::copy(whole.positions.begin() + 7, whole.positions.end(), part.positions.begin());
  whole = observed(whole);
  part = observed(part);
  EXPECT_TRUE(
      same_bits(part.qkv, {whole.qkv.begin() + 7 * whole.shape.row_stride(), whole.qkv.end()}));
}

TYPED_TEST(RotaryObserve, OnlyWidensTheRunningRanges) {
  const RotaryShape shape{4, 4, 1, 1, 8, 0, false, false};
  RotaryCase<TypeParam> test(shape);
  for (int i = 0; i < 4; ++i) test.ranges[i].assign(8, i % 2 == 0 ? -1000.0f : 1000.0f);
  test = observed(test);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(test.ranges[i], std::vector<float>(8, i % 2 == 0 ? -1000.0f : 1000.0f));
  }
}

TYPED_TEST(RotaryObserve, KeepsRangesOfOneSign) {
  const RotaryShape shape{6, 6, 1, 1, 8, 0, false, false};
  RotaryCase<TypeParam> test(shape);
  for (int64_t token = 0; token < shape.tokens; ++token) {
    for (int64_t channel = 0; channel < 8; ++channel) {
      const float magnitude = static_cast<float>(2 + token);
      test.at(token, 2, channel) = from_float<TypeParam>(channel % 2 == 0 ? magnitude : -magnitude);
    }
  }
  test = observed(test);
  for (int64_t channel = 0; channel < 8; ++channel) {
    EXPECT_EQ(test.ranges[2][channel], channel % 2 == 0 ? 2.0f : -7.0f);
    EXPECT_EQ(test.ranges[3][channel], channel % 2 == 0 ? 7.0f : -2.0f);
  }
}

TYPED_TEST(RotaryObserve, TakesEitherZeroForPlusZero) {
  const RotaryShape shape{2, 1, 0, 1, 8, 0, false, false};
  for (const bool negative_first : {false, true}) {
    RotaryCase<TypeParam> test(shape);
    for (auto& value : test.qkv) value = from_float<TypeParam>(0.0f);
    for (int64_t channel = 0; channel < 8; ++channel) {
      test.at(negative_first ? 0 : 1, 1, channel) = from_float<TypeParam>(-0.0f);
    }
    test = observed(test);
    for (int i = 2; i < 4; ++i) EXPECT_TRUE(same_bits(test.ranges[i], std::vector<float>(8)));
  }
}

TYPED_TEST(RotaryObserve, ReportsNanAndInfinityInKeysAndValuesApart) {
  const RotaryShape shape{3, 3, 2, 1, 20, 0, false, false};
  for (const float bad : {std::nanf(""), kInfinity, -kInfinity}) {
    for (int64_t head = 0; head < 4; ++head) {
      for (const int64_t channel : {0, 7, 16, 19}) {
        RotaryCase<TypeParam> test(shape);
        test.at(1, head, channel) = from_float<TypeParam>(bad);
        test = observed(test);
        EXPECT_EQ(test.nonfinite, head < 2    ? 0
                                  : head == 2 ? kNonfiniteKey
                                              : kNonfiniteValue)
            << bad << ' ' << head << ' ' << channel;
        for (const auto& range : test.ranges) {
          for (const float value : range) EXPECT_FALSE(std::isnan(value));
        }
        if (head == 3 && std::isinf(bad)) {
          EXPECT_EQ(test.ranges[bad < 0.0f ? 2 : 3][channel], bad);
        } else {
          EXPECT_TRUE(std::isfinite(test.ranges[2][channel]));
          EXPECT_TRUE(std::isfinite(test.ranges[3][channel]));
        }
      }
    }
  }
}

TYPED_TEST(RotaryObserve, WritesAndReportsTheSameWithoutRanges) {
  for (const RotaryShape& shape : rotary_shapes()) {
    RotaryCase<TypeParam> before(shape);
    before.at(1, shape.heads, 1) = from_float<TypeParam>(kInfinity);
    const RotaryCase<TypeParam> with_ranges = observed(before);
    EXPECT_EQ(with_ranges.nonfinite, kNonfiniteKey) << shape;
    before.observes = false;
    const RotaryCase<TypeParam> without_ranges = observed(before);
    EXPECT_TRUE(same_bits(without_ranges.qkv, with_ranges.qkv)) << shape;
    EXPECT_EQ(without_ranges.nonfinite, kNonfiniteKey) << shape;
    EXPECT_EQ(without_ranges.ranges, RotaryCase<TypeParam>(shape).ranges) << shape;
  }
}

TEST(RotaryObserveOfHalves, ReportsOverflowFromBiasAndRotation) {
  const RotaryShape shape{1, 1, 1, 1, 8, 0, true, false};
  RotaryCase<Half> test(shape);
  test.at(0, 1, 3) = test.bias[8 + 3] = from_float<Half>(60000.0f);
  EXPECT_EQ(observed(test).nonfinite, kNonfiniteKey);

  RotaryCase<Half> rotated({2, 2, 1, 1, 8, 0, false, false});
  rotated.at(0, 1, 0) = rotated.at(0, 1, 1) = from_float<Half>(60000.0f);
  EXPECT_EQ(observed(rotated).nonfinite, kNonfiniteKey);
}

TEST(RotaryObserveArguments, RefuseImpossibleShapes) {
  RotaryCase<float> test({2, 2, 1, 1, 8, 0, false, false});
  const auto refuses = [&](auto change) {
    auto arguments = test.arguments();
    change(arguments);
    EXPECT_THROW(cpu::rotary_observe(arguments, 0, 2), std::invalid_argument);
  };
  refuses([](auto& arguments) { arguments.head_dim = 7; });
  refuses([](auto& arguments) { arguments.head_dim = 258; });
  refuses([](auto& arguments) { arguments.length = 0; });
  refuses([](auto& arguments) { arguments.kv_heads = 0; });
  refuses([](auto& arguments) { arguments.row_stride = 23; });
  refuses([](auto& arguments) { arguments.keys.minimum = nullptr; });
  refuses([](auto& arguments) { arguments.keys.maximum = nullptr; });
  refuses([](auto& arguments) { arguments.values.minimum = nullptr; });
  refuses([](auto& arguments) { arguments.values.maximum = nullptr; });
  refuses([](auto& arguments) { arguments.nonfinite = nullptr; });
  refuses([](auto& arguments) { arguments.positions = nullptr; });
  refuses([](auto& arguments) { arguments.length = 1; });  // there is a token at position 1
}

}  // namespace
}  // namespace kvcalib::kernels
