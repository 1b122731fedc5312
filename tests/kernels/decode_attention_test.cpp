// SPDX-License-Identifier: Apache-2.0
#include "kernels/decode_attention.h"

#include <stdexcept>

#include "kernels/instruction_set.h"
#include "tests/kernels/decode_case.h"

namespace kvcalib::kernels::cpu {
namespace {

std::vector<float> attend(const DecodeCase<float>& test, const InstructionSet& set) {
  std::vector<float> out = test.no_results();
  const DecodeShape& shape = test.shape;
  std::vector<float> scratch(
      static_cast<size_t>(decode_attention_scratch(shape.heads, shape.kv_heads, shape.head_dim)),
      std::nanf(""));
  const auto arguments = test.arguments(out, scratch);
  for (int64_t task = 0; task < arguments.tasks(); ++task)
    decode_attention(arguments, task, task + 1, set);
  return out;
}

void expect_the_definition(const DecodeCase<float>& test, double tolerance) {
  const std::vector<double> expected = test.expected();
  for (const InstructionSet* set : instruction_sets()) {
    SCOPED_TRACE(set->name);
    expect_attended(test, expected, attend(test, *set), tolerance);
  }
}

TEST(DecodeAttention, AgreesWithTheDefinitionInDouble) {
  for (const DecodeShape& shape : decode_shapes())
    expect_the_definition(DecodeCase<float>(shape), 1e-6);
}

// Few keys have all the weight: maxima and sums of blocks differ by orders.
TEST(DecodeAttention, AgreesWithTheDefinitionWhereFewKeysCount) {
  for (const bool codes : {false, true}) {
    DecodeShape shape{4, 2, 128, {700, 30}};
    shape.codes = codes;
    expect_the_definition(DecodeCase<float>(shape, 12.0f), 3e-5);
  }
}

TEST(DecodeAttention, TreatsARowAlikeInAnyCompany) {
  for (const DecodeShape& shape : decode_shapes()) {
    const DecodeCase<float> test(shape);
    const InstructionSet& set = fastest_instruction_set();
    const std::vector<float> all = attend(test, set);
    for (int64_t row = 0; row < shape.rows(); ++row) {
      const auto first = all.begin() + row * test.query_stride();
      EXPECT_TRUE(same_bits(attend(test.row(row), set), {first, first + test.query_stride()}))
          << shape << ", row " << row;
    }
  }
}

TEST(DecodeAttention, HasTheSameBitsOfEveryInstructionSetThatFusesMultiplyAdd) {
  const InstructionSet& fastest = fastest_instruction_set();
  for (const DecodeShape& shape : decode_shapes()) {
    const DecodeCase<float> test(shape);
    for (const InstructionSet* set : instruction_sets()) {
      if (!set->fuses || !fastest.fuses) continue;
      EXPECT_TRUE(same_bits(attend(test, *set), attend(test, fastest))) << shape << set->name;
    }
  }
}

// In the second row alone, and in the heads that see it.
TEST(DecodeAttention, ShowsNanWhereItIsSeenAlone) {
  const DecodeShape shape{4, 2, 80, {300, 290, 280}};
  for (const InstructionSet* set : instruction_sets()) {
    const auto expect_nan = [&](const DecodeCase<float>& test, int64_t first_head,
                                int64_t last_head) {
      const std::vector<float> out = attend(test, *set);
      for (int64_t row = 0; row < shape.rows(); ++row) {
        for (int64_t head = 0; head < shape.heads; ++head) {
          const bool sees = row == 1 && first_head <= head && head < last_head;
          const float value =
              out[static_cast<size_t>(row * test.query_stride() + head * shape.head_dim + 3)];
          EXPECT_EQ(std::isnan(value), sees) << set->name << ", row " << row << ", head " << head;
        }
      }
    };
    DecodeCase<float> query(shape), key(shape), value(shape);
    query.queries[static_cast<size_t>(query.query_stride() + 2 * shape.head_dim + 79)] =
        std::nanf("");
    expect_nan(query, 2, 3);
    key.key_cache.values[static_cast<size_t>(key.place(1, 200, 1) + 5)] = std::nanf("");
    expect_nan(key, 2, 4);
    value.value_cache.values[static_cast<size_t>(value.place(1, 289, 0) + 3)] = std::nanf("");
    expect_nan(value, 0, 2);
  }
}

TEST(DecodeAttention, RefusesArgumentsThatDoNotFit) {
  DecodeShape shape{4, 2, 8, {70}};
  shape.codes = shape.own = true;
  const DecodeCase<float> test(shape);
  std::vector<float> out = test.no_results(), scratch(1000);
  const auto expect_refused = [&](auto break_it) {
    auto arguments = test.arguments(out, scratch);
    break_it(arguments);
    EXPECT_THROW(decode_attention(arguments, 0, 1, fastest_instruction_set()),
                 std::invalid_argument);
  };
  expect_refused([](auto& arguments) { arguments.heads = 3; });
  expect_refused([](auto& arguments) { arguments.head_dim = 257; });
  expect_refused([](auto& arguments) { arguments.query_stride = 31; });
  expect_refused([](auto& arguments) { arguments.out_stride = 31; });
  expect_refused([](auto& arguments) { arguments.table_stride = 1; });
  expect_refused([](auto& arguments) { arguments.own_values = nullptr; });
  expect_refused([](auto& arguments) { arguments.own_stride = 15; });
  expect_refused([](auto& arguments) { arguments.value_cache.zero = nullptr; });
  expect_refused([](auto& arguments) { arguments.codes = false; });
  expect_refused([](auto& arguments) { arguments.key_cache.cache = nullptr; });
  expect_refused([](auto& arguments) { arguments.keys = nullptr; });
  expect_refused([](auto& arguments) { arguments.scratch = nullptr; });
  expect_refused([](auto& arguments) { arguments.sliding_window = -1; });
  expect_refused([](auto& arguments) { arguments.most_keys = 69; });
  expect_refused([](auto& arguments) { arguments.rows = 0; });  // the task is none of them
}

}  // namespace
}  // namespace kvcalib::kernels::cpu
