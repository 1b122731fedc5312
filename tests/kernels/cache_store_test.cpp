// SPDX-License-Identifier: Apache-2.0
#include "kernels/cache_store.h"

#include <cmath>
#include <stdexcept>

#include "kernels/instruction_set.h"
#include "tests/kernels/cache_case.h"

namespace kvcalib::kernels {
namespace {

// By the definition, an element after the other, of T's own rounding.
template <typename T>
class Reference {
 public:
  explicit Reference(CacheCase<T>& test) : test_(test) {}

  void run() {
    for (int64_t token = 0; token < test_.shape.tokens; ++token) {
      if (test_.slots[static_cast<size_t>(token)] < 0) continue;
      store(test_.keys, token);
      store(test_.values, token);
    }
  }

 private:
  void store(CachedSide<T>& side, int64_t token) {
    const int64_t slot = test_.slots[static_cast<size_t>(token)];
    for (int64_t column = 0; column < test_.shape.columns(); ++column) {
      const int64_t width = test_.shape.head_dim, head = column / width;
      const int64_t block = slot / 64, place = slot % 64;
      const auto element = static_cast<size_t>(
          ((block * test_.shape.kv_heads + head) * 64 + place) * width + column % width);
      T& value = side.values[static_cast<size_t>(token * test_.shape.row_stride() + column)];
      if (!test_.codes) {
        side.cache[element] = value;
        continue;
      }
      const float scale = side.scale[static_cast<size_t>(column)];
      const float zero = side.zero[static_cast<size_t>(column)];
      const float difference = to_float(value) - zero;
      const float steps = difference / scale;
      CodeCount ignored;
      const int code =
          code_of(steps, test_.counted ? side.counts[static_cast<size_t>(head)] : ignored);
      side.codes[element] = static_cast<uint8_t>(code + 128);
      const float product = static_cast<float>(code) * scale;
      if (test_.read_back && !std::isnan(steps)) value = from_float<T>(product + zero);
    }
  }

  int code_of(float steps, CodeCount& count) const {
    ++count.values;
    if (std::isnan(steps)) return 0;
    const bool to_even = test_.rounding == CodeRounding::kToEven;
    const float whole = to_even ? std::nearbyint(steps) : std::round(steps);
    const int code = static_cast<int>(std::min(std::max(whole, -128.0f), 127.0f));
    if (steps > 128.0f || steps < -129.0f) ++count.clipped;
    count.lowest = std::min(count.lowest, code);
    count.highest = std::max(count.highest, code);
    return code;
  }

  CacheCase<T>& test_;
};

template <typename T>
class CacheStore : public ::testing::Test {};
TYPED_TEST_SUITE(CacheStore, ElementTypes);

TYPED_TEST(CacheStore, HasTheBitsAndCountsOfTheDefinition) {
  over_cache_cases<TypeParam>([](const CacheCase<TypeParam>& before) {
    CacheCase<TypeParam> expected = before, found = before;
    Reference(expected).run();
    cpu::cache_store(found.storing(), 0, before.shape.tokens);
    expect_same(found, expected);
  });
}

// Which steps are halfway is known exactly where scale = 1 and zero = 0.
TYPED_TEST(CacheStore, RoundsTiesAsItIsTold) {
  for (const CodeRounding rounding : {CodeRounding::kToEven, CodeRounding::kAwayFromZero}) {
    CacheCase<TypeParam> test({1, 1, 8, 0}, true);
    test.rounding = rounding;
    test.slots = {70};
    test.keys.scale.assign(8, 1.0f);
    test.keys.zero.assign(8, 0.0f);
    const std::vector<float> ties{0.5f, 1.5f, -0.5f, -2.5f, 126.5f, 127.5f, -128.5f, 0.25f};
    std::transform(ties.begin(), ties.end(), test.keys.values.begin(), from_float<TypeParam>);
    cpu::cache_store(test.storing(), 0, 1);
    const std::vector<float> found = widened(test.keys.values);
    if (rounding == CodeRounding::kToEven)
      EXPECT_EQ(found, (std::vector<float>{0, 2, 0, -2, 126, 127, -128, 0}));
    else
      EXPECT_EQ(found, (std::vector<float>{1, 2, -1, -3, 127, 127, -128, 0}));
  }
}

// The values of a float and of a 16-bit type alike.
template <typename T>
void expect_quantize_dequantize(CacheCase<T> test, std::optional<CacheType> type) {
  test.type = type;
  std::fill(test.slots.begin(), test.slots.end(), 0);
  std::iota(test.slots.begin(), test.slots.end(), 0);
  for (CachedSide<T>* side : {&test.keys, &test.values}) {
    QuantizeCase<T> expected(test.shape, test.codes ? CacheCode::kInt8 : CacheCode::kSixteenBits,
                             type.value_or(CacheType::kHalf));
    expected.values = side->values;
    cpu::quantize_dequantize(expected.arguments(), 0, test.shape.tokens);
    CacheCase<T> found = test;
    cpu::cache_store(found.storing(), 0, test.shape.tokens);
    const CachedSide<T>& stored = side == &test.keys ? found.keys : found.values;
    EXPECT_TRUE(same_bits(stored.values, expected.values)) << test.shape;
    EXPECT_TRUE(!test.codes || stored.counts == expected.counts) << test.shape;
  }
}

TYPED_TEST(CacheStore, ReadsBackWhatQuantizeDequantizeMakes) {
  for (const QuantizeShape& shape : quantize_shapes()) {
    for (const bool codes : {false, true}) {
      const CacheCase<TypeParam> test(shape, codes);
      expect_quantize_dequantize(test, CacheType::kHalf);
      expect_quantize_dequantize(test, CacheType::kBfloat16);
    }
  }
}

TYPED_TEST(CacheStore, IsLoadedAsItWasReadBack) {
  for (const bool codes : {false, true}) {
    for (const QuantizeShape& shape : quantize_shapes()) {
      for (const std::optional<CacheType> type : {std::optional<CacheType>(), {CacheType::kHalf}}) {
        CacheCase<TypeParam> test(shape, codes);
        test.type = type;
        auto [stored, loaded] = stored_and_wiped(test, [](CacheCase<TypeParam>& whole) {
          cpu::cache_store(whole.storing(), 0, whole.shape.tokens);
        });
        cpu::cache_load(loaded.loading(), 0, shape.tokens);
        expect_same(loaded, stored);
      }
    }
  }
}

TYPED_TEST(CacheStore, DoesNotDependOnTheSplit) {
  for (const bool codes : {false, true}) {
    const CacheCase<TypeParam> before({9, 3, 80, 5}, codes);
    CacheCase<TypeParam> whole = before;
    cpu::cache_store(whole.storing(), 0, 9);
    CacheCase<TypeParam> parts = before;
    cpu::cache_store(parts.storing(), 4, 9);
    cpu::cache_store(parts.storing(), 0, 4);
    expect_same(parts, whole);
  }
}

TEST(CacheStore, HasTheSameBitsOfEverySetOfInstructions) {
  QuantizeCase<float> before({1, 1, 251, 0}, CacheCode::kInt8);
  before.make_special();
  const auto through = [&](const cpu::CacheLoops& loops, CodeRounding rounding) {
    std::vector<float> values = before.values, decoded(251);
    std::vector<uint8_t> codes(251);
    const float *scale = before.scale.data(), *zero = before.zero.data();
    loops.encode(values.data(), scale, zero, 251, rounding, codes.data(), nullptr);
    loops.decode(codes.data(), scale, zero, 251, decoded.data());
    values.insert(values.end(), decoded.begin(), decoded.end());
    values.insert(values.end(), codes.begin(), codes.end());
    return values;
  };
  const cpu::RowLoops& first = *cpu::fastest_instruction_set().rows;
  for (const cpu::InstructionSet* set : cpu::instruction_sets()) {
    for (const CodeRounding rounding : {CodeRounding::kToEven, CodeRounding::kAwayFromZero}) {
      for (const auto loops : {&cpu::RowLoops::half_cache, &cpu::RowLoops::bfloat16_cache,
                               &cpu::RowLoops::float_cache})
        EXPECT_TRUE(
            same_bits(through(set->rows->*loops, rounding), through(first.*loops, rounding)))
            << set->name;
    }
  }
}

TEST(CacheStore, KeepsFloatsThatHaveNoType) {
  CacheCase<float> test({1, 1, 8, 0}, false);
  test.slots = {3};
  test.keys.values.assign(8, 1.0f / 3.0f);
  cpu::cache_store(test.storing(), 0, 1);
  EXPECT_EQ(test.keys.cache[3 * 8], 1.0f / 3.0f);
}

template <typename Arguments, typename Break>
void expect_refused(Arguments arguments, Break break_it) {
  break_it(arguments);
  if constexpr (std::is_same_v<Arguments, CacheStoreArguments<float>>)
    EXPECT_THROW(cpu::cache_store(arguments, 0, 1), std::invalid_argument);
  else
    EXPECT_THROW(cpu::cache_load(arguments, 0, 1), std::invalid_argument);
}

TEST(CacheStore, RefusesArgumentsThatDoNotFit) {
  CacheCase<float> test({1, 2, 8, 0}, true);
  const auto storing = test.storing();
  expect_refused(storing, [](auto& arguments) { arguments.row_stride = 15; });
  expect_refused(storing, [](auto& arguments) { arguments.head_dim = 257; });
  expect_refused(storing, [](auto& arguments) { arguments.slots = nullptr; });
  expect_refused(storing, [](auto& arguments) { arguments.keys.cache = nullptr; });
  expect_refused(storing, [](auto& arguments) { arguments.values.scale = nullptr; });
  expect_refused(storing, [](auto& arguments) { arguments.codes = false; });
  expect_refused(storing, [](auto& arguments) { arguments.key_counts = nullptr; });
  const auto loading = test.loading();
  expect_refused(loading, [](auto& arguments) { arguments.keys.zero = nullptr; });
  expect_refused(loading, [](auto& arguments) { arguments.values.values = nullptr; });
  const int64_t nowhere = -1;
  expect_refused(loading, [&](auto& arguments) { arguments.slots = &nowhere; });
}

}  // namespace
}  // namespace kvcalib::kernels
