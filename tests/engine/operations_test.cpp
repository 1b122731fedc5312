// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/operations.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "calibrate/engine/attention.h"
#include "calibrate/engine/linear.h"

namespace kvcalib {
namespace {

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).norm() / expected.norm()).item<double>();
}

TEST(Linear, AgreesWithAMatrixProductInDouble) {
  at::manual_seed(0);
  for (const int64_t window : {1, 7, 513, 1200}) {
    const at::Tensor x = at::randn({2 * window, 320}), weight = at::randn({320, 1030});
    const at::Tensor out = at::empty({2 * window, 1030});
    linear(x, WeightMatrix(weight), out);
    EXPECT_LT(relative_error(out, at::mm(x.to(at::kDouble), weight.to(at::kDouble))), 1e-6);
    linear(x, WeightMatrix(weight), out, /*accumulate=*/true);
    EXPECT_LT(relative_error(out, 2 * at::mm(x.to(at::kDouble), weight.to(at::kDouble))), 1e-6);
  }
}

TEST(Linear, GivesARowTheSameBitsWhateverIsComputedBesideItAndOnHoweverManyThreads) {
  at::manual_seed(1);
  const int threads = at::get_num_threads();
  for (const int64_t rows : {1, 5, 64, 700}) {
    const at::Tensor x = at::randn({4 * rows, 1024}), weight = at::randn({1024, 1536});
    const at::Tensor together = at::empty({4 * rows, 1536});
    linear(x, WeightMatrix(weight), together);
    for (const int count : {1, 2, 3}) {
      at::set_num_threads(count);
      for (int64_t i = 0; i < 4; ++i) {
        const at::Tensor alone = at::empty({rows, 1536});
        linear(x.narrow(0, i * rows, rows), WeightMatrix(weight), alone);
        EXPECT_TRUE(at::equal(alone, together.narrow(0, i * rows, rows)))
            << "rows " << i * rows << " and on, " << rows << " of them, on " << count << " threads";
      }
    }
    at::set_num_threads(threads);
  }
}

TEST(Linear, TakesAViewOfTheWeightsColumns) {
  const at::Tensor x = at::randn({8, 64}), weight = at::randn({64, 96});
  const at::Tensor out = at::empty({8, 32});
  linear(x, WeightMatrix(weight).narrow(64, 32), out);
  EXPECT_LT(relative_error(out, at::mm(x, weight).narrow(1, 64, 32)), 1e-6);
}

TEST(Linear, GivesTheSameBitsWithAWeightThatIsKeptPacked) {
  at::manual_seed(3);
  const at::Tensor weight = at::randn({1030, 320}).to(at::kHalf).t();  // two strips and a part
  const WeightMatrix matrix(weight), kept = packed(matrix);
  EXPECT_EQ(kept.rows(), 320);
  EXPECT_EQ(kept.columns(), 1030);
  EXPECT_EQ(kept.packed_form().numel() * 4, packed_bytes(320, 1030));
  for (const int64_t rows : {1, 7, 200}) {
    const at::Tensor x = at::randn({rows, 320});
    const at::Tensor expected = at::ones({rows, 1030}), found = at::ones({rows, 1030});
    for (const bool accumulate : {false, true}) {
      linear(x, matrix, expected, accumulate);
      linear(x, kept, found, accumulate);
      EXPECT_TRUE(at::equal(found, expected));
    }
  }
  EXPECT_THROW(kept.narrow(0, 8), c10::Error);
}

// Of whole windows, where q, k and v of a token lie side by side.
at::Tensor attention(const at::Tensor& qkv, const QkvShape& shape, int64_t window,
                     int64_t sliding_window = 0) {
  const at::Tensor heads = qkv.view({-1, window, shape.heads + 2 * shape.kv_heads, shape.head_dim});
  return causal_attention(
      heads.narrow(2, 0, shape.heads), heads.narrow(2, shape.heads, shape.kv_heads),
      heads.narrow(2, shape.heads + shape.kv_heads, shape.kv_heads), sliding_window);
}

TEST(CausalAttention, AgreesWithASoftmaxOverThePastForEveryWindowAndGroup) {
  at::manual_seed(2);
  for (const int64_t kv_heads : {1, 2, 4}) {
    const int64_t windows = 3, length = 37, heads = 4, head_dim = 16;
    const QkvShape shape{heads, kv_heads, head_dim};
    const at::Tensor qkv = at::randn({windows * length, (heads + 2 * kv_heads) * head_dim});
    const at::Tensor out = attention(qkv, shape, length);
    const at::Tensor parts = qkv.view({windows, length, -1, head_dim}).to(at::kDouble);
    const at::Tensor future = at::ones({length, length}, at::kBool).triu(1);
    for (int64_t w = 0; w < windows; ++w) {
      for (int64_t head = 0; head < heads; ++head) {
        const int64_t kv = head / (heads / kv_heads);
        const at::Tensor q = parts[w].select(1, head), k = parts[w].select(1, heads + kv);
        const at::Tensor v = parts[w].select(1, heads + kv_heads + kv);
        const at::Tensor scores = (at::mm(q, k.t()) / 4.0).masked_fill(future, -1e30);
        const at::Tensor expected = at::mm(scores.softmax(-1), v);
        const at::Tensor found = out.view({windows, length, heads, head_dim})[w].select(1, head);
        EXPECT_LT(relative_error(found, expected), 1e-5) << kv_heads << " kv heads, head " << head;
      }
    }
  }
}

// One head of a window in double: a query sees the `seen` keys up to its own.
at::Tensor attention_in_double(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               int64_t seen) {
  const at::Tensor all = at::ones({q.size(0), q.size(0)}, at::kBool);
  const at::Tensor unseen = all.triu(1).logical_or(all.tril(-seen));
  const at::Tensor scores = at::mm(q, k.t()) / std::sqrt(static_cast<double>(q.size(1)));
  return at::mm(scores.masked_fill(unseen, -1e300).softmax(-1), v);
}

// 1100: rows of keys that the kernel takes in several blocks, some of which a query does not see.
TEST(CausalAttention, OfASlidingWindowAgreesWithASoftmaxOverTheKeysInIt) {
  at::manual_seed(4);
  const QkvShape shape{4, 2, 20};
  for (const auto& [length, seen] : {std::pair<int64_t, int64_t>{37, 1}, {37, 36}, {1100, 100}}) {
    const at::Tensor qkv = at::randn({2 * length, 8 * 20});
    const at::Tensor out = attention(qkv, shape, length, seen);
    const at::Tensor found = out.view({2, length, 4, 20});
    const at::Tensor parts = qkv.view({2, length, -1, 20}).to(at::kDouble);
    for (int64_t w = 0; w < 2; ++w) {
      for (int64_t head = 0; head < 4; ++head) {
        const at::Tensor expected =
            attention_in_double(parts[w].select(1, head), parts[w].select(1, 4 + head / 2),
                                parts[w].select(1, 6 + head / 2), seen);
        EXPECT_LT(relative_error(found[w].select(1, head), expected), 1e-5)
            << length << " tokens that see " << seen << ", head " << head;
      }
    }
    const at::Tensor alone = attention(qkv.narrow(0, length, length), shape, length, seen);
    EXPECT_TRUE(at::equal(alone, out.narrow(0, length, length)));
  }
}

TEST(CausalAttention, IsTheSameToTheBitWhereTheSlidingWindowHoldsAllKeys) {
  at::manual_seed(5);
  const QkvShape shape{4, 2, 16};
  const at::Tensor qkv = at::randn({2 * 40, 8 * 16});
  const at::Tensor whole = attention(qkv, shape, 40);
  for (const int64_t seen : {40, 41, 4096})
    EXPECT_TRUE(at::equal(attention(qkv, shape, 40, seen), whole));
  EXPECT_FALSE(at::equal(attention(qkv, shape, 40, 39), whole));
}

TEST(CausalAttention, OfQueriesBehindKeysIsThatOfTheWholeWindowsLastTokens) {
  at::manual_seed(7);
  const at::Tensor q = at::randn({2, 600, 4, 16}), k = at::randn({2, 600, 2, 16});
  const at::Tensor v = at::randn({2, 600, 2, 16});
  for (const int64_t seen : {0, 100}) {
    const at::Tensor whole = causal_attention(q, k, v, seen).view({2, 600, 64});
    for (const int64_t count : {1, 50, 599}) {
      const at::Tensor last = q.narrow(1, 600 - count, count).contiguous();
      EXPECT_TRUE(at::equal(causal_attention(last, k, v, seen).view({2, count, 64}),
                            whole.narrow(1, 600 - count, count)))
          << count << " queries that see " << seen;
    }
  }
  EXPECT_THROW(causal_attention(q, k.narrow(1, 0, 599), v.narrow(1, 0, 599)), c10::Error);
  EXPECT_THROW(causal_attention(q, k, v.narrow(1, 0, 599)), c10::Error);
}

TEST(HeadNorm, NormalisesQAndKOnEveryThreadAndLeavesV) {
  at::manual_seed(6);
  const int64_t tokens = 400;
  const at::Tensor qkv = at::randn({tokens, 7 * 20}), before = qkv.clone();
  const at::Tensor query = at::randn({20}), key = at::randn({20});
  head_norm(qkv, query, key, {3, 2, 20}, 1e-6);
  const at::Tensor heads = before.view({tokens, 7, 20}).to(at::kDouble);
  const at::Tensor normed = heads / (heads.square().mean(-1, true) + 1e-6).sqrt();
  const at::Tensor found = qkv.view({tokens, 7, 20});
  EXPECT_LT(relative_error(found.narrow(1, 0, 3), normed.narrow(1, 0, 3) * query), 1e-6);
  EXPECT_LT(relative_error(found.narrow(1, 3, 2), normed.narrow(1, 3, 2) * key), 1e-6);
  EXPECT_TRUE(at::equal(found.narrow(1, 5, 2), before.view({tokens, 7, 20}).narrow(1, 5, 2)));
  const at::Tensor keys = before.narrow(1, 60, 80).contiguous();
  head_norm(keys, {}, key, {0, 2, 20}, 1e-6);
  EXPECT_TRUE(at::equal(keys, qkv.narrow(1, 60, 80)));
  EXPECT_THROW(head_norm(qkv, query, at::ones({19}), {3, 2, 20}, 1e-6), c10::Error);
}

TEST(RotaryObserve, WidensTheRangesByEveryTokenOnEveryThread) {
  at::manual_seed(3);
  const int64_t tokens = 400, heads = 2, kv_heads = 2, head_dim = 8;
  const at::Tensor qkv = at::randn({tokens, 6 * head_dim});
  const at::Tensor ones = at::ones({tokens, head_dim / 2}),
                   zeros = at::zeros({tokens, head_dim / 2});
  const auto zero = [&] { return at::zeros({kv_heads, head_dim}); };
  const KvRanges ranges = {{zero(), zero()}, {zero(), zero()}};
  const at::Tensor positions = at::arange(tokens, at::dtype(at::kInt));
  const at::Tensor flags = at::zeros({1}, at::kInt);
  const at::Tensor before = qkv.clone();
  rotary_observe(qkv, {}, {ones, zeros, {}}, positions, {heads, kv_heads, head_dim}, ranges, {},
                 flags);
  EXPECT_TRUE(at::equal(qkv, before));  // an angle of zero
  const at::Tensor parts = before.view({tokens, -1, head_dim});
  EXPECT_TRUE(at::equal(ranges.keys.minimum, parts.narrow(1, 2, 2).amin(0).clamp_max(0)));
  EXPECT_TRUE(at::equal(ranges.keys.maximum, parts.narrow(1, 2, 2).amax(0).clamp_min(0)));
  EXPECT_TRUE(at::equal(ranges.values.minimum, parts.narrow(1, 4, 2).amin(0).clamp_max(0)));
  EXPECT_TRUE(at::equal(ranges.values.maximum, parts.narrow(1, 4, 2).amax(0).clamp_min(0)));
  EXPECT_EQ(flags.item<int>(), 0);
}

TEST(RotaryObserve, FlagsAValueThatIsNotFiniteWhetherOrNotRangesAreWanted) {
  for (const bool in_values : {false, true}) {
    for (const bool observed : {false, true}) {
      const at::Tensor qkv = at::zeros({64, 12});
      qkv[63][in_values ? 11 : 4] = std::numeric_limits<float>::quiet_NaN();
      const at::Tensor one = at::ones({64, 2}), flags = at::zeros({1}, at::kInt);
      KvRanges ranges;
      const auto zero = [] { return at::zeros({1, 4}); };
      if (observed) ranges = {{zero(), zero()}, {zero(), zero()}};
      rotary_observe(qkv, {}, {one, at::zeros({64, 2}), {}}, at::arange(64, at::dtype(at::kInt)),
                     {1, 1, 4}, ranges, {}, flags);
      EXPECT_EQ(flags.item<int>(), in_values ? 2 : 1);
    }
  }
}

TEST(Operations, RefuseShapesThatDoNotFit) {
  const at::Tensor x = at::ones({4, 8}), weight = at::ones({9, 8}), out = at::empty({4, 8});
  EXPECT_THROW(linear(x, WeightMatrix(weight), out), c10::Error);
  EXPECT_THROW(linear(x, WeightMatrix(at::ones({8, 8})), at::empty({8, 4}).t()), c10::Error);
  EXPECT_THROW(swiglu(x, at::empty({4, 8})), c10::Error);
}

}  // namespace
}  // namespace kvcalib
