// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/operations.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "calibrate/engine/attention.h"
#include "calibrate/engine/linear.h"
#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

// A test that runs on the first GPU; skipped where there is none.
class GpuOperations : public ::testing::Test {
 protected:
  void SetUp() override {
    if (gpu_count() == 0) GTEST_SKIP() << "no GPU is visible";
    at::manual_seed(0);
  }

  static at::Tensor random(at::IntArrayRef shape, at::ScalarType type = at::kHalf) {
    return at::randn(shape, at::dtype(type).device(at::kCUDA));
  }
};

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

TEST_F(GpuOperations, LinearAgreesWithAMatrixProductInDouble) {
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    for (const int64_t tokens : {1, 60, 2000}) {
      for (const int64_t columns : {384, 1032, 77}) {  // 77: rows that no wide access fits
        const at::Tensor x = random({tokens, 512}, type), weight = random({512, columns}, type);
        const at::Tensor out = random({tokens, columns}, type);
        const at::Tensor product = at::mm(x.to(at::kDouble), weight.to(at::kDouble));
        const at::Tensor sum = product + out.to(at::kDouble);
        linear(x, WeightMatrix(weight), out, /*accumulate=*/true);
        EXPECT_LT(relative_error(out, sum), type == at::kHalf ? 1e-3 : 8e-3);
        linear(x, WeightMatrix(weight), out);
        EXPECT_LT(relative_error(out, product), type == at::kHalf ? 1e-3 : 8e-3);
      }
    }
  }
}

// The rounding of a float32 result is that of its products' sums alone.
TEST_F(GpuOperations, LinearDoesNotRoundWhatIsWantedInFloat32) {
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    for (const int64_t columns : {384, 77}) {
      const at::Tensor x = random({1000, 512}, type), weight = random({512, columns}, type);
      const at::Tensor out = at::empty({1000, columns}, x.options().dtype(at::kFloat));
      linear(x, WeightMatrix(weight), out);
      EXPECT_LT(relative_error(out, at::mm(x.to(at::kDouble), weight.to(at::kDouble))), 5e-6);
      const at::Tensor some = at::empty({64, columns}, out.options());
      linear(x.narrow(0, 900, 64), WeightMatrix(weight), some);
      EXPECT_TRUE(at::equal(some, out.narrow(0, 900, 64)));
    }
  }
}

TEST_F(GpuOperations, LinearTakesColumnsOfWiderRows) {
  const at::Tensor x = random({100, 256}), weights = random({256, 768});
  const at::Tensor whole = at::empty({100, 768}, x.options());
  linear(x, WeightMatrix(weights), whole);
  const at::Tensor part = at::empty({100, 512}, x.options());
  linear(x, WeightMatrix(weights).narrow(256, 512), part);
  EXPECT_LT(relative_error(part, whole.narrow(1, 256, 512).to(at::kDouble)), 1e-3);
}

// Few rows are where the library would split the sum, were it asked for these rows alone.
TEST_F(GpuOperations, LinearGivesARowTheSameBitsAmongAnyNumberOfRows) {
  for (const int64_t k : {512, 11008}) {
    const at::Tensor x = random({4096, k}), weight = random({k, 1024});
    const at::Tensor all = at::empty({4096, 1024}, x.options());
    linear(x, WeightMatrix(weight), all);
    for (const int64_t rows : {1, 64, 100, 2048}) {
      const at::Tensor some = at::empty({rows, 1024}, x.options());
      linear(x.narrow(0, 4096 - rows, rows), WeightMatrix(weight), some);
      EXPECT_TRUE(at::equal(some, all.narrow(0, 4096 - rows, rows))) << rows << " of k " << k;
    }
  }
}

// A query sees the `seen` keys up to its own.
at::Tensor attention_in_double(const at::Tensor& qkv, const QkvShape& shape, int64_t window,
                               int64_t seen) {
  const at::Tensor heads =
      qkv.to(at::kDouble).view({-1, window, shape.heads + 2 * shape.kv_heads, shape.head_dim});
  const auto of = [&](int64_t first, int64_t count) {  // [windows, heads, window, head_dim]
    return heads.narrow(2, first, count).repeat_interleave(shape.heads / count, 2).transpose(1, 2);
  };
  const at::Tensor scores =
      at::matmul(of(0, shape.heads), of(shape.heads, shape.kv_heads).transpose(2, 3)) /
      std::sqrt(static_cast<double>(shape.head_dim));
  const at::Tensor all = at::ones({window, window}, scores.options().dtype(at::kBool));
  const at::Tensor unseen = all.triu(1).logical_or(all.tril(-seen));
  const at::Tensor attended = at::matmul(scores.masked_fill(unseen, -INFINITY).softmax(-1),
                                         of(shape.heads + shape.kv_heads, shape.kv_heads));
  return attended.transpose(1, 2).reshape({qkv.size(0), shape.heads * shape.head_dim});
}

// Of whole windows, where q, k and v of a token lie side by side.
at::Tensor attention(const at::Tensor& qkv, const QkvShape& shape, int64_t window,
                     int64_t sliding_window = 0) {
  const at::Tensor heads = qkv.view({-1, window, shape.heads + 2 * shape.kv_heads, shape.head_dim});
  return causal_attention(
      heads.narrow(2, 0, shape.heads), heads.narrow(2, shape.heads, shape.kv_heads),
      heads.narrow(2, shape.heads + shape.kv_heads, shape.kv_heads), sliding_window);
}

// 48: the flash kernel; longer windows: cuDNN's where the GPU is new enough.
TEST_F(GpuOperations, AttentionAgreesWithSoftmaxInDouble) {
  for (const QkvShape shape : {QkvShape{4, 4, 128}, QkvShape{8, 2, 64}, QkvShape{4, 2, 80},
                               QkvShape{4, 4, 96}, QkvShape{4, 1, 256}}) {
    for (const int64_t window : {1, 48, 64, 333}) {
      const at::Tensor qkv =
          random({3 * window, (shape.heads + 2 * shape.kv_heads) * shape.head_dim});
      EXPECT_LT(relative_error(attention(qkv, shape, window),
                               attention_in_double(qkv, shape, window, window)),
                2e-3)
          << window << " of head_dim " << shape.head_dim;
    }
  }
}

TEST_F(GpuOperations, AttentionOfASlidingWindowAgreesWithSoftmaxInDouble) {
  for (const QkvShape shape :
       {QkvShape{4, 4, 128}, QkvShape{8, 2, 64}, QkvShape{4, 2, 80}, QkvShape{4, 1, 256}}) {
    for (const auto& [window, seen] :
         {std::pair<int64_t, int64_t>{48, 1}, {64, 63}, {333, 100}, {1000, 256}}) {
      const at::Tensor qkv =
          random({2 * window, (shape.heads + 2 * shape.kv_heads) * shape.head_dim});
      const at::Tensor found = attention(qkv, shape, window, seen);
      EXPECT_LT(relative_error(found, attention_in_double(qkv, shape, window, seen)), 2e-3)
          << window << " that see " << seen << ", head_dim " << shape.head_dim;
      EXPECT_TRUE(at::equal(attention(qkv.narrow(0, window, window), shape, window, seen),
                            found.narrow(0, window, window)));
    }
  }
}

TEST_F(GpuOperations, AttentionOfQueriesBehindKeysIsThatOfTheWindowsLastTokens) {
  for (const QkvShape shape : {QkvShape{4, 4, 128}, QkvShape{8, 2, 64}, QkvShape{4, 1, 256}}) {
    for (const int64_t seen : {0, 100}) {
      const int64_t window = 500;
      const at::Tensor qkv =
          random({2 * window, (shape.heads + 2 * shape.kv_heads) * shape.head_dim});
      const at::Tensor heads = qkv.view({2, window, -1, shape.head_dim});
      const at::Tensor expected =
          attention_in_double(qkv, shape, window, seen == 0 ? window : seen).view({2, window, -1});
      for (const int64_t count : {1, 48, 333}) {
        const at::Tensor found =
            causal_attention(
                heads.narrow(2, 0, shape.heads).narrow(1, window - count, count).contiguous(),
                heads.narrow(2, shape.heads, shape.kv_heads),
                heads.narrow(2, shape.heads + shape.kv_heads, shape.kv_heads), seen)
                .view({2, count, -1});
        EXPECT_LT(relative_error(found, expected.narrow(1, window - count, count)), 2e-3)
            << count << " queries that see " << seen << ", head_dim " << shape.head_dim;
      }
    }
  }
}

TEST_F(GpuOperations, HeadNormAgreesWithTheDefinitionInDouble) {
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    for (const int64_t head_dim : {64, 80, 96, 128, 256}) {
      const at::Tensor qkv = random({100, 7 * head_dim}, type), before = qkv.clone();
      const at::Tensor query = random({head_dim}, type), key = random({head_dim}, type);
      head_norm(qkv, query, key, {3, 2, head_dim}, 1e-6);
      const at::Tensor heads = before.view({100, 7, head_dim}).to(at::kDouble);
      const at::Tensor normed = heads / (heads.square().mean(-1, true) + 1e-6).sqrt();
      const at::Tensor found = qkv.view({100, 7, head_dim});
      const double tolerance = type == at::kHalf ? 1e-3 : 8e-3;
      EXPECT_LT(relative_error(found.narrow(1, 0, 3), normed.narrow(1, 0, 3) * query), tolerance);
      EXPECT_LT(relative_error(found.narrow(1, 3, 2), normed.narrow(1, 3, 2) * key), tolerance);
      EXPECT_TRUE(at::equal(qkv.narrow(1, 5 * head_dim, 2 * head_dim),
                            before.narrow(1, 5 * head_dim, 2 * head_dim)));
    }
  }
}

TEST_F(GpuOperations, AttentionGivesAWindowTheSameBitsAmongAnyNumberOfWindows) {
  const QkvShape shape{4, 2, 128};
  for (const int64_t window : {48, 64, 512, 2048}) {
    const at::Tensor qkv = random({9 * window, 8 * 128});
    const at::Tensor all = attention(qkv, shape, window);
    for (const int64_t windows : {1, 2, 5}) {
      const at::Tensor some = attention(qkv.narrow(0, window, windows * window), shape, window);
      EXPECT_TRUE(at::equal(some, all.narrow(0, window, windows * window)))
          << windows << " windows of " << window;
    }
  }
}

}  // namespace
}  // namespace kvcalib
