// SPDX-License-Identifier: Apache-2.0
#include "calibrate/equalise/weight_axis.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/numeric.h"

namespace kvcalib {
namespace {

// Two query heads for one of K and V, of 4 channels.
ModelConfig small_model() {
  ModelConfig config;
  config.layers = 1;
  config.hidden = 8;
  config.heads = 2;
  config.kv_heads = 1;
  config.head_dim = 4;
  config.intermediate = 4;
  return config;
}

const LayerFactors kFactors{{2, 4}, {8, 16, 32, 64}};

std::vector<std::byte> bytes_of(const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::vector<float> floats_of(const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

TEST(AxisFactors, MultiplyKAndVAndDivideWhatReadsThem) {
  const ModelConfig config = small_model();
  const std::vector<double> qkv = axis_factors(LayerTensor::kQkv, config, kFactors);
  EXPECT_EQ(qkv, (std::vector<double>{.5, .5, .25, .25, .5, .5, .25, .25,  // two query heads
                                      2, 2, 4, 4, 8, 16, 32, 64}));
  EXPECT_EQ(axis_factors(LayerTensor::kQkvBias, config, kFactors), qkv);
  EXPECT_EQ(
      axis_factors(LayerTensor::kOutput, config, kFactors),
      (std::vector<double>{1. / 8, 1. / 16, 1. / 32, 1. / 64, 1. / 8, 1. / 16, 1. / 32, 1. / 64}));
  for (const LayerTensor tensor :
       {LayerTensor::kOutputBias, LayerTensor::kAttentionNorm, LayerTensor::kGateUp,
        LayerTensor::kDown, LayerTensor::kQueryNorm, LayerTensor::kKeyNorm})
    EXPECT_TRUE(axis_factors(tensor, config, kFactors).empty());
}

TEST(AxisFactors, GoIntoTheNormsOfQAndKWhereThereAreSome) {
  ModelConfig config = small_model();
  config.query_key_norm = true;
  EXPECT_EQ(axis_factors(LayerTensor::kQkv, config, kFactors),
            (std::vector<double>{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8, 16, 32, 64}));
  EXPECT_EQ(axis_factors(LayerTensor::kQueryNorm, config, kFactors),
            (std::vector<double>{.5, .5, .25, .25}));
  EXPECT_EQ(axis_factors(LayerTensor::kKeyNorm, config, kFactors),
            (std::vector<double>{2, 2, 4, 4}));
}

// A stored [in, out] part of w_qkv: the second rank's columns, after those of another tensor.
TEST(WeightAxis, OfColumnsThatAreStoredAsColumns) {
  LayerPlan plan;
  plan.ranges = {{"w", 0, 2 * 3 * 4, 256, ElementType::kFloat32}};
  plan.blocks = {{LayerTensor::kQkv, 0, 6, 2, 2, 256, 3, 1, 1, ElementType::kFloat32},
                 {LayerTensor::kQkv, 0, 12, 2, 1, 256 + 2 * 4, 3, 1, 1, ElementType::kFloat32}};
  const auto axis = weight_axis(plan, plan.ranges[0], small_model());
  ASSERT_TRUE(axis);
  EXPECT_FALSE(axis->by_row);
  EXPECT_EQ(axis->width, 3);
  EXPECT_EQ(axis->entry, (std::vector<size_t>{6, 7, 12}));
}

// A stored [out, in] matrix whose rows are the two halves of rotary pairs.
TEST(WeightAxis, OfColumnsThatAreStoredAsRows) {
  LayerPlan plan;
  plan.ranges = {{"w", 0, 4 * 8 * 2, 0, ElementType::kFloat16}};
  plan.blocks = {{LayerTensor::kQkv, 0, 8, 8, 2, 0, 1, 2, 8},
                 {LayerTensor::kQkv, 0, 9, 8, 2, 2 * 8 * 2, 1, 2, 8}};
  const auto axis = weight_axis(plan, plan.ranges[0], small_model());
  ASSERT_TRUE(axis);
  EXPECT_TRUE(axis->by_row);
  EXPECT_EQ(axis->width, 8);
  EXPECT_EQ(axis->entry, (std::vector<size_t>{8, 10, 9, 11}));
}

TEST(WeightAxis, OfRowsOfTheOutput) {
  LayerPlan plan;
  plan.ranges = {{"turbomind", 0, 4 * 8 * 2, 0, ElementType::kFloat16},
                 {"hugging face", 0, 8 * 8 * 2, 256, ElementType::kFloat16}};
  plan.blocks = {{LayerTensor::kOutput, 4, 0, 4, 8, 0, 8},
                 {LayerTensor::kOutput, 0, 0, 8, 8, 256, 1, 1, 8}};
  const auto turbomind = weight_axis(plan, plan.ranges[0], small_model());
  ASSERT_TRUE(turbomind);
  EXPECT_TRUE(turbomind->by_row);
  EXPECT_EQ(turbomind->entry, (std::vector<size_t>{4, 5, 6, 7}));
  const auto hugging_face = weight_axis(plan, plan.ranges[1], small_model());
  ASSERT_TRUE(hugging_face);
  EXPECT_FALSE(hugging_face->by_row);
  EXPECT_EQ(hugging_face->entry, (std::vector<size_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(WeightAxis, OfABiasAndOfWhatTakesNoFactors) {
  LayerPlan plan;
  plan.ranges = {{"bias", 0, 4 * 4, 0, ElementType::kFloat32},
                 {"norm", 0, 8 * 4, 256, ElementType::kFloat32}};
  plan.blocks = {{LayerTensor::kQkvBias, 0, 8, 1, 2, 0, 1, 2, 1, ElementType::kFloat32},
                 {LayerTensor::kQkvBias, 0, 9, 1, 2, 8, 1, 2, 1, ElementType::kFloat32},
                 {LayerTensor::kFfnNorm, 0, 0, 1, 8, 256, 1, 1, 1, ElementType::kFloat32}};
  const auto bias = weight_axis(plan, plan.ranges[0], small_model());
  ASSERT_TRUE(bias);
  EXPECT_EQ(bias->entry, (std::vector<size_t>{8, 10, 9, 11}));
  EXPECT_FALSE(weight_axis(plan, plan.ranges[1], small_model()));
}

TEST(MultiplyWeights, AnyPieceOfATensor) {
  const std::vector<double> factors{2, 3, 5, 7};
  for (const bool by_row : {true, false}) {
    const WeightAxis axis{LayerTensor::kQkv, ElementType::kFloat32, 4, by_row, {3, 0, 1, 2}};
    for (size_t first = 0; first < 16; ++first) {
      for (size_t count = 0; first + count <= 16; ++count) {
        std::vector<float> values(count, 1.5f), expected;
        for (size_t i = first; i < first + count; ++i)
          expected.push_back(1.5f *
                             static_cast<float>(factors[axis.entry[by_row ? i / 4 : i % 4]]));
        std::vector<std::byte> bytes = bytes_of(values);
        EXPECT_TRUE(multiply_weights(bytes, first, axis, factors));
        EXPECT_EQ(floats_of(bytes), expected);
      }
    }
  }
}

uint16_t multiplied_bits(uint16_t bits, ElementType type, double factor) {
  const WeightAxis axis{LayerTensor::kQkv, type, 1, true, {0}};
  std::vector<std::byte> bytes(2);
  std::memcpy(bytes.data(), &bits, 2);
  multiply_weights(bytes, 0, axis, std::vector<double>{factor});
  std::memcpy(&bits, bytes.data(), 2);
  return bits;
}

TEST(MultiplyWeights, RoundsOnceToTheType) {
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = kernels::to_float(kernels::Half{half});
    EXPECT_EQ(multiplied_bits(half, ElementType::kFloat16, 0.3),
              kernels::from_float<kernels::Half>(static_cast<float>(value * 0.3)).bits);
    EXPECT_EQ(multiplied_bits(half, ElementType::kFloat16, 1.0), half);
  }
  EXPECT_EQ(multiplied_bits(0x3f80, ElementType::kBFloat16, -3.0), 0xc040);
}

TEST(MultiplyWeights, TellsWhatIsNotFinite) {
  const WeightAxis axis{LayerTensor::kQkv, ElementType::kFloat32, 1, true, {0, 0}};
  std::vector<std::byte> bytes = bytes_of({1e38f, 1});
  EXPECT_TRUE(multiply_weights(bytes, 0, axis, std::vector<double>{1}));
  EXPECT_FALSE(multiply_weights(bytes, 0, axis, std::vector<double>{256}));
  bytes = bytes_of({1, NAN});
  EXPECT_FALSE(multiply_weights(bytes, 0, axis, std::vector<double>{1}));
}

// Every number of fp16: the exponents that are allowed keep it, the next one does not.
TEST(BitReach, IsHowFarAValueGoesWithoutLosingABit) {
  const WeightAxis axis{LayerTensor::kQkv, ElementType::kFloat16, 1, true, {0}};
  for (uint32_t bits = 1; bits < 0x7c00; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = kernels::to_float(kernels::Half{half});
    std::vector<std::byte> bytes(2);
    std::memcpy(bytes.data(), &half, 2);
    std::vector<BitReach> reach(1);
    add_reach(bytes, 0, axis, reach);
    const auto keeps = [&](int exponent) {
      const float moved = std::ldexp(value, exponent);
      return kernels::rounded<kernels::Half>(moved) == moved && std::isfinite(moved) &&
             moved <= 65504.0f;
    };
    const int up = most_up(reach[0], ElementType::kFloat16);
    const int down = most_down(reach[0], ElementType::kFloat16);
    EXPECT_TRUE(keeps(up) && keeps(-down)) << value;
    EXPECT_TRUE(up == kLargestExponent || !keeps(up + 1)) << value;
    EXPECT_TRUE(down == kLargestExponent || !keeps(-down - 1)) << value;
  }
}

TEST(BitReach, OfNothingButZerosIsWithoutLimit) {
  const WeightAxis axis{LayerTensor::kQkv, ElementType::kFloat32, 1, true, {0}};
  std::vector<BitReach> reach(1);
  add_reach(bytes_of({0}), 0, axis, reach);
  EXPECT_EQ(most_up(reach[0], ElementType::kFloat32), kLargestExponent);
  EXPECT_EQ(most_down(reach[0], ElementType::kFloat32), kLargestExponent);
}

}  // namespace
}  // namespace kvcalib
