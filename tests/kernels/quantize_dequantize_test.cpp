// SPDX-License-Identifier: Apache-2.0
#include "kernels/quantize_dequantize.h"

#include <cmath>
#include <stdexcept>

#include "kernels/instruction_set.h"
#include "tests/kernels/quantize_case.h"

namespace kvcalib::kernels {
namespace {

// To the nearest multiple of the step that a binary type has at that magnitude, half to even, by
// exact operations in double.
double to_steps(double value, int fraction_bits, int smallest_exponent) {
  if (value == 0 || !std::isfinite(value)) return value;
  const int exponent = std::max(std::ilogb(value), smallest_exponent) - fraction_bits;
  return std::copysign(std::ldexp(std::nearbyint(std::ldexp(std::abs(value), -exponent)), exponent),
                       value);
}

float in_sixteen_bits(float value, CacheType type) {
  const bool half = type == CacheType::kHalf;
  const double steps = half ? to_steps(value, 10, -14) : to_steps(value, 7, -126);
  const double largest = half ? 65504.0 : 0x1.fep127;
  if (std::abs(steps) > largest)
    return std::copysign(std::numeric_limits<float>::infinity(), value);
  return static_cast<float>(steps);
}

float in_float8(float value) {
  if (std::isnan(value)) return value;
  const double steps = std::isinf(value) ? value : to_steps(value, 3, -6);
  return static_cast<float>(std::copysign(std::min(std::abs(steps), 448.0), value));
}

float through_int8(float value, float scale, float zero, CodeCount& count) {
  const float difference = value - zero;
  const float steps = difference / scale;
  ++count.values;
  if (std::isnan(steps)) return steps;
  const int code = static_cast<int>(std::min(std::max(std::nearbyint(steps), -128.0f), 127.0f));
  if (steps > 128.0f || steps < -129.0f) ++count.clipped;
  count.lowest = std::min(count.lowest, code);
  count.highest = std::max(count.highest, code);
  const float product = static_cast<float>(code) * scale;
  return product + zero;
}

// By the definition, an element after the other.
template <typename T>
class Reference {
 public:
  explicit Reference(QuantizeCase<T>& test)
      : test_(test),
        type_(std::is_same_v<T, Half>       ? CacheType::kHalf
              : std::is_same_v<T, Bfloat16> ? CacheType::kBfloat16
                                            : test.type) {}

  void run() {
    for (int64_t token = 0; token < test_.shape.tokens; ++token)
      for (int64_t head = 0; head < test_.shape.kv_heads; ++head) convert(token, head);
  }

 private:
  void convert(int64_t token, int64_t head) {
    std::vector<float> values;
    for (int64_t i = 0; i < test_.shape.head_dim; ++i)
      values.push_back(in_sixteen_bits(to_float(test_.at(token, head, i)), type_));
    float low = std::numeric_limits<float>::infinity(), high = -low;
    for (const float value : values) {
      low = std::fmin(low, value);
      high = std::fmax(high, value);
    }
    const float token_scale = (high - low) / 255.0f;
    const float middle = (high + low) / 2.0f;
    const float token_zero = middle + token_scale / 2.0f;
    for (int64_t i = 0; i < test_.shape.head_dim; ++i) {
      const auto channel = static_cast<size_t>(head * test_.shape.head_dim + i);
      const float scale = test_.scale[channel];
      CodeCount ignored;
      CodeCount& count = test_.counted ? test_.counts[static_cast<size_t>(head)] : ignored;
      float value = values[static_cast<size_t>(i)];
      if (test_.code == CacheCode::kInt8)
        value = through_int8(value, scale, test_.zero[channel], count);
      else if (test_.code == CacheCode::kFloat8)
        value = in_float8(value / scale) * scale;
      else if (test_.code == CacheCode::kInt8OfToken && token_scale != 0.0f)
        value = through_int8(value, token_scale, token_zero, count);
      else if (test_.code == CacheCode::kInt8OfToken)
        ++count.values;
      test_.at(token, head, i) = from_float<T>(in_sixteen_bits(value, type_));
    }
  }

  QuantizeCase<T>& test_;
  const CacheType type_;
};

template <typename T>
void expect_the_definition(const QuantizeCase<T>& before) {
  QuantizeCase<T> expected = before, found = before;
  Reference(expected).run();
  cpu::quantize_dequantize(found.arguments(), 0, before.shape.tokens);
  EXPECT_TRUE(same_bits(found.values, expected.values)) << before.shape;
  EXPECT_TRUE(found.counts == expected.counts) << before.shape;
}

template <typename T>
class QuantizeDequantize : public ::testing::Test {};
TYPED_TEST_SUITE(QuantizeDequantize, ElementTypes);

TYPED_TEST(QuantizeDequantize, HasTheBitsAndCountsOfTheDefinition) {
  for (const CacheCode code : kCacheCodes) {
    for (const CacheType type : {CacheType::kHalf, CacheType::kBfloat16}) {
      SCOPED_TRACE(::testing::Message()
                   << "code " << static_cast<int>(code) << ", type " << static_cast<int>(type));
      for (const QuantizeShape& shape : quantize_shapes()) {
        QuantizeCase<TypeParam> test(shape, code, type);
        expect_the_definition(test);
        test.counted = false;
        expect_the_definition(test);
        test.make_special();
        test.counted = true;
        expect_the_definition(test);
      }
    }
  }
}

TYPED_TEST(QuantizeDequantize, DoesNotDependOnTheSplit) {
  for (const CacheCode code : kCacheCodes) {
    const QuantizeCase<TypeParam> before({9, 3, 80, 5}, code);
    QuantizeCase<TypeParam> whole = before;
    cpu::quantize_dequantize(whole.arguments(), 0, 9);
    for (const int64_t split : {1, 4, 8}) {
      QuantizeCase<TypeParam> parts = before;
      cpu::quantize_dequantize(parts.arguments(), split, 9);
      cpu::quantize_dequantize(parts.arguments(), 0, split);
      EXPECT_TRUE(same_bits(parts.values, whole.values));
      EXPECT_TRUE(parts.counts == whole.counts);
    }
  }
}

// Every number of a 16-bit type, in channels of some scales.
template <typename T>
void expect_the_definition_of_all_numbers(CacheCode code) {
  QuantizeCase<T> test({256, 1, 256, 0}, code);
  for (size_t i = 0; i < test.values.size(); ++i) test.values[i] = {static_cast<uint16_t>(i)};
  for (size_t i = 0; i < 64; ++i) test.scale[i] = std::ldexp(1.0f, static_cast<int>(i) - 24);
  expect_the_definition(test);
}

TEST(QuantizeDequantizeOfAllNumbers, HasTheBitsOfTheDefinition) {
  for (const CacheCode code : kCacheCodes) {
    expect_the_definition_of_all_numbers<Half>(code);
    expect_the_definition_of_all_numbers<Bfloat16>(code);
  }
}

// The numbers of the type, the middles between them and their neighbours, as floats.
template <typename T>
std::vector<float> numbers_and_middles() {
  std::vector<float> values;
  for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const float here = to_float(T{static_cast<uint16_t>(bits)});
    const float next = to_float(T{static_cast<uint16_t>(bits + 1)});
    const float middle = here + (next - here) / 2;
    for (const float value : {here, middle}) {
      values.push_back(value);
      values.push_back(std::nextafter(value, 0.0f));
      values.push_back(std::nextafter(value, 2 * value));
    }
  }
  return values;
}

template <typename T>
void expect_ties_to_even(CacheType type) {
  QuantizeCase<float> test({1536, 1, 256, 0}, CacheCode::kSixteenBits, type);
  test.values = numbers_and_middles<T>();
  expect_the_definition(test);
}

TEST(QuantizeDequantizeOfFloats, RoundsToSixteenBitsHalfToEven) {
  expect_ties_to_even<Half>(CacheType::kHalf);
  expect_ties_to_even<Bfloat16>(CacheType::kBfloat16);
}

TEST(QuantizeDequantizeOfFloats, HasTheSameBitsOfEverySetOfInstructions) {
  const QuantizeCase<float> before({1, 1, 251, 0}, CacheCode::kInt8);
  std::vector<std::vector<float>> first;
  for (const cpu::InstructionSet* set : cpu::instruction_sets()) {
    std::vector<std::vector<float>> found;
    for (const cpu::CacheLoops* loops : {&set->rows->half_cache, &set->rows->bfloat16_cache}) {
      QuantizeCase<float> int8 = before, token = before, float8 = before, rounded = before;
      for (QuantizeCase<float>* test : {&int8, &token, &float8, &rounded}) test->make_special();
      token.values = before.values;
      loops->int8(int8.values.data(), int8.scale.data(), int8.zero.data(), 251, nullptr);
      loops->int8_of_token(token.values.data(), 251, token.counts.data());
      loops->float8(float8.values.data(), float8.scale.data(), 251);
      loops->round(rounded.values.data(), 251);
      for (const auto* test : {&int8, &token, &float8, &rounded}) found.push_back(test->values);
    }
    if (first.empty()) first = found;
    for (size_t i = 0; i < found.size(); ++i)
      EXPECT_TRUE(same_bits(found[i], first[i])) << set->name << ", result " << i;
  }
}

// One head of one token.
std::vector<float> through(CacheCode code, const std::vector<float>& values, float scale,
                           float zero, CodeCount* count = nullptr) {
  QuantizeCase<float> test({1, 1, static_cast<int64_t>(values.size()), 0}, code);
  test.values = values;
  test.scale.assign(values.size(), scale);
  test.zero.assign(values.size(), zero);
  cpu::quantize_dequantize(test.arguments(), 0, 1);
  if (count != nullptr) *count = test.counts.front();
  return test.values;
}

TEST(QuantizeDequantizeByHand, RoundsCodesHalfToEvenAndStopsAtTheEnds) {
  CodeCount count;
  EXPECT_EQ(through(CacheCode::kInt8, {0.25f, 0.75f, 1.25f, -0.25f, 63.75f, -64.25f, 64.0f, -64.5f},
                    0.5f, 0.0f, &count),
            (std::vector<float>{0, 1, 1, 0, 63.5f, -64, 63.5f, -64}));
  EXPECT_EQ(count, (CodeCount{8, 0, -128, 127}));
  EXPECT_EQ(through(CacheCode::kInt8, {64.5f, -65, 2}, 0.5f, 1.0f, &count),
            (std::vector<float>{64.5f, -63, 2}));
  EXPECT_EQ(count, (CodeCount{3, 1, -128, 127}));
}

TEST(QuantizeDequantizeByHand, KeepsTheExtremesOfATokensHead) {
  // 255 steps of 1/64 from -1: scale 1/64, zero 127/64 - 1 + 1/128... = 1 exactly.
  std::vector<float> values{-1.0f, 2.984375f, 0.5f, 0.5078125f, 0.5234375f};
  CodeCount count;
  EXPECT_EQ(through(CacheCode::kInt8OfToken, values, 1, 0, &count),
            (std::vector<float>{-1.0f, 2.984375f, 0.5f, 0.5f, 0.53125f}));
  EXPECT_EQ(count, (CodeCount{5, 0, -128, 127}));
  EXPECT_EQ(through(CacheCode::kInt8OfToken, {0.1f, 0.1f}, 1, 0, &count),
            (std::vector<float>{0.0999755859375f, 0.0999755859375f}));
  EXPECT_EQ(count, (CodeCount{2, 0, CodeCount().lowest, CodeCount().highest}));
}

TEST(QuantizeDequantizeByHand, HasTheNumbersOfE4M3) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(
      through(CacheCode::kFloat8,
              {448, 464, 1000, -infinity, 17, 19, 0x1p-9f, 0x1p-10f, 0x1.8p-9f, -0x1.004p-10f},
              1.0f, 0.0f),
      (std::vector<float>{448, 448, 448, -448, 16, 20, 0x1p-9f, 0, 0x1p-8f, -0x1p-9f}));
}

TEST(QuantizeDequantizeByHand, LeavesNanAndOnlyThat) {
  const float nan = std::nanf("");
  for (const CacheCode code : kCacheCodes) {
    const auto found = through(code, {1, nan, 3, 2}, 0.5f, 0.0f);
    EXPECT_TRUE(std::isnan(found[1]));
    EXPECT_NEAR(found[0], 1, 0.02) << static_cast<int>(code);
    EXPECT_NEAR(found[2], 3, 0.02) << static_cast<int>(code);
    EXPECT_NEAR(found[3], 2, 0.02) << static_cast<int>(code);
  }
}

TEST(QuantizeDequantizeArguments, RefuseScalesCountsAndRowsThatDoNotFit) {
  QuantizeCase<float> test({1, 2, 8, 0}, CacheCode::kInt8);
  const auto expect_refused = [](QuantizeDequantizeArguments<float> arguments, auto change) {
    change(arguments);
    EXPECT_THROW(cpu::quantize_dequantize(arguments, 0, 1), std::invalid_argument);
  };
  expect_refused(test.arguments(), [](auto& arguments) { arguments.scale = nullptr; });
  expect_refused(test.arguments(), [](auto& arguments) { arguments.zero = nullptr; });
  expect_refused(test.arguments(), [](auto& arguments) { arguments.row_stride = 15; });
  expect_refused(test.arguments(), [](auto& arguments) { arguments.head_dim = 257; });
  expect_refused(test.arguments(), [](auto& arguments) { arguments.code = CacheCode::kFloat8; });
  expect_refused(test.arguments(), [](auto& arguments) {
    arguments.code = CacheCode::kFloat8;
    arguments.zero = nullptr;  // and still counts
  });
}

}  // namespace
}  // namespace kvcalib::kernels
