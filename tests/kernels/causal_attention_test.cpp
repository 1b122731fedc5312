// SPDX-License-Identifier: Apache-2.0
#include "kernels/causal_attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/instruction_set.h"
#include "tests/kernels/kernel_test_data.h"

namespace kvcalib::kernels::cpu {
namespace {

// Windows with a row of qkv for every token, and a few floats between rows; the queries are those
// of the last tokens, of all where there is nothing `before` them.
struct AttentionCase {
  int64_t windows = 2, length = 0, heads = 4, kv_heads = 2, head_dim = 16, sliding_window = 0;
  int64_t before = 0;
  std::span<const KeyRun> key_runs = {};

  int64_t row_stride() const { return (heads + 2 * kv_heads) * head_dim + 3; }
  std::vector<float> qkv(unsigned seed) const {
    return random_values<float>(windows * length * row_stride(), seed);
  }

  std::vector<float> run(const std::vector<float>& qkv, const InstructionSet& set) const {
    return run(qkv, set, qkv);
  }
  // With the keys and values of other rows.
  std::vector<float> run(const std::vector<float>& qkv, const InstructionSet& set,
                         const std::vector<float>& key_rows) const {
    std::vector<float> out(static_cast<size_t>(windows * queries() * heads * head_dim), -7.0f);
    std::vector<float> scratch(static_cast<size_t>(attention_scratch(queries(), head_dim)),
                               std::nanf(""));
    const std::vector<float> asked = query_rows(qkv);
    CausalAttentionArguments arguments = with(key_rows, out, scratch);
    arguments.queries = asked.data();
    for (int64_t task = 0; task < arguments.tasks(); ++task)
      causal_attention(arguments, task, task + 1, set);
    return out;
  }

  int64_t queries() const { return length - before; }

  // The rows of qkv from `before` on, of every window.
  std::vector<float> query_rows(const std::vector<float>& qkv) const {
    std::vector<float> rows;
    for (int64_t window = 0; window < windows; ++window) {
      const auto first = qkv.begin() + window * length * row_stride();
      rows.insert(rows.end(), first + before * row_stride(), first + length * row_stride());
    }
    return rows;
  }

  CausalAttentionArguments with(const std::vector<float>& qkv, std::vector<float>& out,
                                std::vector<float>& scratch) const {
    return {.queries = qkv.data(),
            .keys = qkv.data() + heads * head_dim,
            .values = qkv.data() + (heads + kv_heads) * head_dim,
            .query_stride = row_stride(),
            .key_stride = row_stride(),
            .out = out.data(),
            .windows = windows,
            .query_length = queries(),
            .key_length = length,
            .key_runs = key_runs,
            .heads = heads,
            .kv_heads = kv_heads,
            .head_dim = head_dim,
            .sliding_window = sliding_window,
            .scratch = scratch.data()};
  }
};

// The attended values of one query and head, in double.
std::vector<double> attended(const AttentionCase& shape, const std::vector<float>& qkv,
                             int64_t window, int64_t query, int64_t head) {
  const int64_t kv_head = head / (shape.heads / shape.kv_heads), width = shape.head_dim;
  const auto row = [&](int64_t token, int64_t part) {
    return qkv.data() + (window * shape.length + token) * shape.row_stride() + part * width;
  };
  const float* const q = row(query, head);
  const int64_t seen = shape.sliding_window > 0 ? shape.sliding_window : shape.length;
  std::vector<double> weights;
  const int64_t first = std::max<int64_t>(0, query - seen + 1);
  for (int64_t key = first; key <= query; ++key) {
    const float* const k = row(key, shape.heads + kv_head);
    double score = 0.0;
    for (int64_t i = 0; i < width; ++i) score += static_cast<double>(q[i]) * k[i];
    weights.push_back(score / std::sqrt(static_cast<double>(width)));
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  double sum = 0.0;
  for (double& weight : weights) sum += weight = std::exp(weight - largest);
  std::vector<double> result(static_cast<size_t>(width));
  for (int64_t key = first; key <= query; ++key) {
    const float* const v = row(key, shape.heads + shape.kv_heads + kv_head);
    for (int64_t i = 0; i < width; ++i)
      result[static_cast<size_t>(i)] += weights[static_cast<size_t>(key - first)] / sum * v[i];
  }
  return result;
}

void expect_agreement(const AttentionCase& shape, const InstructionSet& set) {
  const std::vector<float> qkv = shape.qkv(3), out = shape.run(qkv, set);
  double worst = 0.0;
  for (int64_t row = 0; row < shape.windows * shape.length; ++row) {
    for (int64_t head = 0; head < shape.heads; ++head) {
      const auto expected = attended(shape, qkv, row / shape.length, row % shape.length, head);
      for (int64_t i = 0; i < shape.head_dim; ++i) {
        const int64_t place = (row * shape.heads + head) * shape.head_dim + i;
        const double difference =
            std::abs(out[static_cast<size_t>(place)] - expected[static_cast<size_t>(i)]);
        worst = std::max(worst, std::isnan(difference) ? HUGE_VAL : difference);
      }
    }
  }
  EXPECT_LT(worst, 5e-6) << set.name << ": " << shape.length << " tokens, " << shape.kv_heads
                         << " kv heads x " << shape.head_dim << ", sliding window "
                         << shape.sliding_window;
}

TEST(CausalAttention, AgreesWithASoftmaxInDouble) {
  for (const InstructionSet* set : instruction_sets()) {
    for (const int64_t length : {1, 2, 47, 48, 49, 130, 512, 513, 600})
      expect_agreement({.windows = 1, .length = length}, *set);
    for (const int64_t kv_heads : {1, 2, 4})
      for (const int64_t head_dim : {8, 20, 128})
        expect_agreement({.length = 70, .kv_heads = kv_heads, .head_dim = head_dim}, *set);
  }
}

// 1100 tokens: some queries see nothing of the first keys, some nothing of a block that others of
// their block see.
TEST(CausalAttention, SeesOnlyTheKeysOfASlidingWindow) {
  for (const InstructionSet* set : instruction_sets()) {
    for (const int64_t seen : {1, 2, 30, 69, 70, 71})
      expect_agreement({.length = 70, .sliding_window = seen}, *set);
    for (const int64_t seen : {1, 10, 100, 600})
      expect_agreement(
          {.windows = 1, .length = 1100, .heads = 1, .kv_heads = 1, .sliding_window = seen}, *set);
  }
}

// Whatever the blocks are that queries and keys are taken in.
TEST(CausalAttention, GivesQueriesBehindKeysTheBitsThatTheyHaveInTheWholeWindow) {
  for (const InstructionSet* set : instruction_sets()) {
    for (const int64_t seen : {0, 1, 30, 600}) {
      AttentionCase shape{.length = 1100, .heads = 2, .kv_heads = 1, .sliding_window = seen};
      const std::vector<float> qkv = shape.qkv(7), whole = shape.run(qkv, *set);
      for (const int64_t before : {1, 47, 48, 511, 512, 700, 1099}) {
        shape.before = before;
        const std::vector<float> found = shape.run(qkv, *set);
        const int64_t width = shape.heads * shape.head_dim;
        std::vector<float> expected;
        for (int64_t window = 0; window < shape.windows; ++window)
          expected.insert(expected.end(), whole.begin() + (window * shape.length + before) * width,
                          whole.begin() + (window + 1) * shape.length * width);
        EXPECT_TRUE(same_bits(found, expected))
            << set->name << ", " << before << " keys before, sliding window " << seen;
      }
    }
  }
}

// Of a window that is cut into runs, whose rows are then put in another order.
TEST(CausalAttention, GivesKeysInRunsTheBitsOfKeysInARow) {
  const std::vector<KeyRun> places = {{900, 13}, {0, 500}, {520, 1}, {530, 86}, {620, 100}};
  for (const InstructionSet* set : instruction_sets()) {
    for (const int64_t seen : {0, 30, 600}) {
      AttentionCase shape{.windows = 1, .length = 700, .sliding_window = seen, .before = 100};
      const std::vector<float> qkv = shape.qkv(8), expected = shape.run(qkv, *set);
      std::vector<float> spread(static_cast<size_t>(1000 * shape.row_stride()), std::nanf(""));
      auto next = qkv.begin();
      for (const KeyRun& run : places) {
        const auto end = next + run.count * shape.row_stride();
        std::copy(next, end, spread.begin() + run.first * shape.row_stride());
        next = end;
      }
      shape.key_runs = places;
      EXPECT_TRUE(same_bits(shape.run(qkv, *set, spread), expected))
          << set->name << ", sliding window " << seen;
    }
  }
}

TEST(CausalAttention, GivesTheSameBitsOnEveryInstructionSetThatFusesMultiplyAdd) {
  const AttentionCase shape{.length = 600, .head_dim = 40};
  const std::vector<float> qkv = shape.qkv(4);
  std::vector<std::vector<float>> found;
  for (const InstructionSet* set : instruction_sets())
    if (set->fuses) found.push_back(shape.run(qkv, *set));
  for (const auto& other : found) EXPECT_TRUE(same_bits(other, found.front()));
}

// Token 60 of the second head: a NaN in q is its own, one in k or v everyone's who sees it.
TEST(CausalAttention, MakesNanOfWhatSeesNanAndOfNothingElse) {
  const AttentionCase shape{.windows = 1, .length = 100, .heads = 2, .kv_heads = 2};
  for (const InstructionSet* set : instruction_sets()) {
    for (const int64_t part : {1, 3, 5}) {  // q, k and v
      std::vector<float> qkv = shape.qkv(5);
      const int64_t place = 60 * shape.row_stride() + part * shape.head_dim;
      std::fill_n(qkv.begin() + place, shape.head_dim, std::nanf(""));
      const std::vector<float> out = shape.run(qkv, *set);
      for (int64_t i = 0; i < std::ssize(out); ++i) {
        const int64_t token = i / (2 * shape.head_dim), head = i / shape.head_dim % 2;
        const bool sees = part == 1 ? token == 60 : token >= 60;
        if (part == 5 && !sees && token / kAttentionQueries == 60 / kAttentionQueries) continue;
        EXPECT_EQ(std::isnan(out[static_cast<size_t>(i)]), head == 1 && sees)
            << set->name << " part " << part << ", token " << token << ", head " << head;
      }
    }
  }
}

TEST(CausalAttention, RefusesArgumentsThatDoNotFit) {
  const AttentionCase shape{.length = 4};
  std::vector<float> qkv = shape.qkv(6), out(1000), scratch(10000);
  const InstructionSet& set = fastest_instruction_set();
  CausalAttentionArguments arguments = shape.with(qkv, out, scratch);
  EXPECT_THROW(causal_attention(arguments, 0, arguments.tasks() + 1, set), std::invalid_argument);
  arguments.kv_heads = 3;
  EXPECT_THROW(causal_attention(arguments, 0, 1, set), std::invalid_argument);
  arguments = shape.with(qkv, out, scratch);
  arguments.query_stride = 10;
  EXPECT_THROW(causal_attention(arguments, 0, 1, set), std::invalid_argument);
  arguments = shape.with(qkv, out, scratch);
  arguments.query_length = 5;
  EXPECT_THROW(causal_attention(arguments, 0, 1, set), std::invalid_argument);
  arguments = shape.with(qkv, out, scratch);
  const KeyRun run{0, 4}, shorter{0, 3};
  arguments.key_runs = {&run, 1};  // two windows
  EXPECT_THROW(causal_attention(arguments, 0, 1, set), std::invalid_argument);
  arguments.windows = 1;
  arguments.key_runs = {&shorter, 1};
  EXPECT_THROW(causal_attention(arguments, 0, 1, set), std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels::cpu
