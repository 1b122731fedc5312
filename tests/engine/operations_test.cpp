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
    linear(x, WeightMatrix(weight), out, window);
    EXPECT_LT(relative_error(out, at::mm(x.to(at::kDouble), weight.to(at::kDouble))), 1e-6);
    linear(x, WeightMatrix(weight), out, window, /*accumulate=*/true);
    EXPECT_LT(relative_error(out, 2 * at::mm(x.to(at::kDouble), weight.to(at::kDouble))), 1e-6);
  }
}

TEST(Linear, GivesAWindowTheSameBitsWhateverIsComputedBesideItAndOnHoweverManyThreads) {
  at::manual_seed(1);
  const int threads = at::get_num_threads();
  for (const int64_t window : {5, 64, 700}) {
    const at::Tensor x = at::randn({4 * window, 1024}), weight = at::randn({1024, 1536});
    const at::Tensor together = at::empty({4 * window, 1536});
    linear(x, WeightMatrix(weight), together, window);
    for (const int count : {1, 2, 3}) {
      at::set_num_threads(count);
      for (int64_t i = 0; i < 4; ++i) {
        const at::Tensor alone = at::empty({window, 1536});
        linear(x.narrow(0, i * window, window), WeightMatrix(weight), alone, window);
        EXPECT_TRUE(at::equal(alone, together.narrow(0, i * window, window)))
            << "window " << i << " of " << window << " tokens on " << count << " threads";
      }
    }
    at::set_num_threads(threads);
  }
}

TEST(Linear, TakesAViewOfTheWeightsColumns) {
  const at::Tensor x = at::randn({8, 64}), weight = at::randn({64, 96});
  const at::Tensor out = at::empty({8, 32});
  linear(x, WeightMatrix(weight).narrow(64, 32), out, 8);
  EXPECT_LT(relative_error(out, at::mm(x, weight).narrow(1, 64, 32)), 1e-6);
}

TEST(CausalAttention, AgreesWithASoftmaxOverThePastForEveryWindowAndGroup) {
  at::manual_seed(2);
  for (const int64_t kv_heads : {1, 2, 4}) {
    const int64_t windows = 3, length = 37, heads = 4, head_dim = 16;
    const QkvShape shape{heads, kv_heads, head_dim};
    const at::Tensor qkv = at::randn({windows * length, (heads + 2 * kv_heads) * head_dim});
    const at::Tensor out = causal_attention(qkv, shape, length);
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

TEST(RotaryObserve, WidensTheRangesByEveryTokenOnEveryThread) {
  at::manual_seed(3);
  const int64_t tokens = 400, heads = 2, kv_heads = 2, head_dim = 8;
  const at::Tensor qkv = at::randn({tokens, 6 * head_dim});
  const at::Tensor ones = at::ones({tokens, head_dim / 2}),
                   zeros = at::zeros({tokens, head_dim / 2});
  const at::Tensor ranges = at::zeros({4, kv_heads, head_dim});
  const at::Tensor flags = at::zeros({1}, at::kInt);
  const at::Tensor before = qkv.clone();
  rotary_observe(qkv, {}, {ones, zeros, {}}, {heads, kv_heads, head_dim}, ranges, flags);
  EXPECT_TRUE(at::equal(qkv, before));  // an angle of zero
  const at::Tensor parts = before.view({tokens, -1, head_dim});
  EXPECT_TRUE(at::equal(ranges[0], parts.narrow(1, 2, 2).amin(0).clamp_max(0)));
  EXPECT_TRUE(at::equal(ranges[1], parts.narrow(1, 2, 2).amax(0).clamp_min(0)));
  EXPECT_TRUE(at::equal(ranges[2], parts.narrow(1, 4, 2).amin(0).clamp_max(0)));
  EXPECT_TRUE(at::equal(ranges[3], parts.narrow(1, 4, 2).amax(0).clamp_min(0)));
  EXPECT_EQ(flags.item<int>(), 0);
}

TEST(RotaryObserve, FlagsAValueThatIsNotFinite) {
  for (const bool in_values : {false, true}) {
    const at::Tensor qkv = at::zeros({64, 12});
    qkv[63][in_values ? 11 : 4] = std::numeric_limits<float>::quiet_NaN();
    const at::Tensor one = at::ones({64, 2}), ranges = at::zeros({4, 1, 4});
    const at::Tensor flags = at::zeros({1}, at::kInt);
    rotary_observe(qkv, {}, {one, at::zeros({64, 2}), {}}, {1, 1, 4}, ranges, flags);
    EXPECT_EQ(flags.item<int>(), in_values ? 2 : 1);
  }
}

TEST(Operations, RefuseShapesThatDoNotFit) {
  const at::Tensor x = at::ones({4, 8}), weight = at::ones({9, 8}), out = at::empty({4, 8});
  EXPECT_THROW(linear(x, WeightMatrix(weight), out, 4), c10::Error);
  EXPECT_THROW(linear(x, WeightMatrix(at::ones({8, 8})), out, 3), c10::Error);
  EXPECT_THROW(swiglu(x, at::empty({4, 8})), c10::Error);
}

}  // namespace
}  // namespace kvcalib
