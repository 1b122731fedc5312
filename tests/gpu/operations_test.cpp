// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/operations.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>

#include "calibrate/engine/attention.h"
#include "calibrate/engine/linear.h"

namespace kvcalib {
namespace {

// A test that runs on the first GPU; skipped where there is none.
class GpuOperations : public ::testing::Test {
 protected:
  void SetUp() override {
    if (c10::cuda::device_count() == 0) GTEST_SKIP() << "no GPU is visible";
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
        linear(x, WeightMatrix(weight), out, tokens, /*accumulate=*/true);
        EXPECT_LT(relative_error(out, sum), type == at::kHalf ? 1e-3 : 8e-3);
        linear(x, WeightMatrix(weight), out, tokens);
        EXPECT_LT(relative_error(out, product), type == at::kHalf ? 1e-3 : 8e-3);
      }
    }
  }
}

TEST_F(GpuOperations, LinearTakesColumnsOfWiderRows) {
  const at::Tensor x = random({100, 256}), weights = random({256, 768});
  const at::Tensor whole = at::empty({100, 768}, x.options());
  linear(x, WeightMatrix(weights), whole, 100);
  const at::Tensor part = at::empty({100, 512}, x.options());
  linear(x, WeightMatrix(weights).narrow(256, 512), part, 100);
  EXPECT_LT(relative_error(part, whole.narrow(1, 256, 512).to(at::kDouble)), 1e-3);
}

// Few rows are where the library would split the sum, were it asked for these rows alone.
TEST_F(GpuOperations, LinearGivesARowTheSameBitsAmongAnyNumberOfRows) {
  for (const int64_t k : {512, 11008}) {
    const at::Tensor x = random({4096, k}), weight = random({k, 1024});
    const at::Tensor all = at::empty({4096, 1024}, x.options());
    linear(x, WeightMatrix(weight), all, 1);
    for (const int64_t rows : {1, 64, 100, 2048}) {
      const at::Tensor some = at::empty({rows, 1024}, x.options());
      linear(x.narrow(0, 4096 - rows, rows), WeightMatrix(weight), some, 1);
      EXPECT_TRUE(at::equal(some, all.narrow(0, 4096 - rows, rows))) << rows << " of k " << k;
    }
  }
}

at::Tensor attention_in_double(const at::Tensor& qkv, const QkvShape& shape, int64_t window) {
  const at::Tensor heads =
      qkv.to(at::kDouble).view({-1, window, shape.heads + 2 * shape.kv_heads, shape.head_dim});
  const auto of = [&](int64_t first, int64_t count) {  // [windows, heads, window, head_dim]
    return heads.narrow(2, first, count).repeat_interleave(shape.heads / count, 2).transpose(1, 2);
  };
  const at::Tensor scores =
      at::matmul(of(0, shape.heads), of(shape.heads, shape.kv_heads).transpose(2, 3)) /
      std::sqrt(static_cast<double>(shape.head_dim));
  const at::Tensor later = at::ones({window, window}, scores.options().dtype(at::kBool)).triu(1);
  const at::Tensor attended = at::matmul(scores.masked_fill(later, -INFINITY).softmax(-1),
                                         of(shape.heads + shape.kv_heads, shape.kv_heads));
  return attended.transpose(1, 2).reshape({qkv.size(0), shape.heads * shape.head_dim});
}

// 48: the flash kernel; longer windows: cuDNN's where the GPU is new enough.
TEST_F(GpuOperations, AttentionAgreesWithSoftmaxInDouble) {
  for (const QkvShape shape : {QkvShape{4, 4, 128}, QkvShape{8, 2, 64}}) {
    for (const int64_t window : {1, 48, 64, 333}) {
      const at::Tensor qkv =
          random({3 * window, (shape.heads + 2 * shape.kv_heads) * shape.head_dim});
      EXPECT_LT(relative_error(causal_attention(qkv, shape, window),
                               attention_in_double(qkv, shape, window)),
                2e-3)
          << window;
    }
  }
}

TEST_F(GpuOperations, AttentionGivesAWindowTheSameBitsAmongAnyNumberOfWindows) {
  const QkvShape shape{4, 2, 128};
  for (const int64_t window : {48, 64, 512, 2048}) {
    const at::Tensor qkv = random({9 * window, 8 * 128});
    const at::Tensor all = causal_attention(qkv, shape, window);
    for (const int64_t windows : {1, 2, 5}) {
      const at::Tensor some =
          causal_attention(qkv.narrow(0, window, windows * window), shape, window);
      EXPECT_TRUE(at::equal(some, all.narrow(0, window, windows * window)))
          << windows << " windows of " << window;
    }
  }
}

}  // namespace
}  // namespace kvcalib
