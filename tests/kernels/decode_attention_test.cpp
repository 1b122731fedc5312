// SPDX-License-Identifier: Apache-2.0
#include "kernels/decode_attention.h"

#include <stdexcept>

#include "kernels/instruction_set.h"
#include "tests/kernels/decode_case.h"

namespace kvcalib::kernels {
namespace {

std::vector<float> attend(DecodeCase<float> test, const cpu::InstructionSet& set) {
  cpu::decode_attention(test.arguments(), 0, test.shape.rows() * test.shape.kv_heads, set);
  return test.out;
}

TEST(DecodeAttention, AgreesWithASoftmaxInDouble) {
  for (const DecodeShape& shape : decode_shapes()) {
    const DecodeCase<float> test(shape);
    const std::vector<double> expected = test.expected();
    for (const cpu::InstructionSet* set : cpu::instruction_sets()) {
      const std::vector<float> found = attend(test, *set);
      for (size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(found[i], expected[i], 3e-6) << shape << ", " << set->name << ", " << i;
    }
  }
}

TEST(DecodeAttention, GivesARowTheSameBitsAlone) {
  for (const DecodeShape& shape : decode_shapes()) {
    const DecodeCase<float> test(shape);
    const std::vector<float> all = attend(test, cpu::fastest_instruction_set());
    const int64_t width = shape.heads * shape.head_dim;
    for (int64_t row = 0; row < shape.rows(); ++row) {
      const std::vector<float> found = attend(row_alone(test, row), cpu::fastest_instruction_set());
      EXPECT_TRUE(same_bits(
          found, std::vector<float>(all.begin() + row * width, all.begin() + (row + 1) * width)))
          << shape << ", row " << row;
    }
  }
}

TEST(DecodeAttention, GivesTheSameBitsWithEverySetThatFuses) {
  for (const DecodeShape& shape : decode_shapes()) {
    const DecodeCase<float> test(shape);
    const std::vector<float> expected = attend(test, cpu::fastest_instruction_set());
    for (const cpu::InstructionSet* set : cpu::instruction_sets()) {
      if (!set->fuses) continue;
      EXPECT_TRUE(same_bits(attend(test, *set), expected)) << shape << set->name;
    }
  }
}

TEST(DecodeAttention, MakesNanOfNan) {
  DecodeCase<float> test({4, 2, 64, {70, 70}, false});
  test.queries[0] = std::nanf("");
  const std::vector<float> found = attend(test, cpu::fastest_instruction_set());
  for (int64_t i = 0; i < 64; ++i) EXPECT_TRUE(std::isnan(found[i]));
  for (size_t i = 64; i < found.size(); ++i) EXPECT_FALSE(std::isnan(found[i]));
}

TEST(DecodeAttention, RefusesInconsistentArguments) {
  DecodeCase<float> test({4, 2, 64, {70}, true});
  const auto refuses = [&](auto change) {
    DecodeAttentionArguments<float> arguments = test.arguments();
    change(arguments);
    EXPECT_THROW(cpu::decode_attention(arguments, 0, 2, cpu::fastest_instruction_set()),
                 std::invalid_argument);
  };
  refuses([](auto& is) { is.heads = 5; });
  refuses([](auto& is) { is.table_stride = 1; });
  refuses([](auto& is) { is.cache.keys.zero = nullptr; });
  refuses([](auto& is) { is.cache.values.scale = nullptr; });
  refuses([](auto& is) { is.own_keys = is.queries; });
  refuses([](auto& is) { is.out = nullptr; });
  refuses([](auto& is) { is.most_keys = 0; });
}

}  // namespace
}  // namespace kvcalib::kernels
