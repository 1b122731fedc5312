// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/segment_attention.h"

#include <gtest/gtest.h>

#include "sharding/streaming/device.h"
#include "tests/engine/one_layer.h"
#include "tests/engine/segment_case.h"

namespace kvcalib {
namespace {

class GpuSegments : public ::testing::Test {
 protected:
  void SetUp() override {
    if (gpu_count() == 0) GTEST_SKIP() << "no GPU is visible";
    at::manual_seed(0);
  }

  static at::TensorOptions options(at::ScalarType type = at::kHalf) {
    return at::dtype(type).device(at::kCUDA);
  }
};

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  const at::Tensor exact = expected.to(at::kCPU).to(at::kDouble);
  return ((found.to(at::kCPU).to(at::kDouble) - exact).norm() / exact.norm()).item<double>();
}

std::vector<TokenTree> windows(int64_t count, int64_t length) {
  return std::vector<TokenTree>(static_cast<size_t>(count), tree_of({{-1, length}}));
}

TEST_F(GpuSegments, AgreeWithASoftmaxInDoubleAlongEveryPath) {
  const std::vector<std::vector<TokenTree>> all = {some_trees(),
                                                   {tree_of({{-1, 9}}), tree_of({{-1, 70}})},
                                                   windows(3, 300),
                                                   windows(3, 80),
                                                   windows(2, 1)};
  for (const SegmentHeads& heads : {SegmentHeads{4, 4, 128}, SegmentHeads{8, 2, 64}}) {
    for (const auto& trees : all) {
      const Segments segments = segments_of(trees, at::kCUDA);
      for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
        const at::Tensor qkv = heads.random(segments.rows(), options(type));
        for (const int64_t sliding_window : {0, 1, 30, 600, 5000})
          EXPECT_LT(relative_error(heads.attend(qkv, segments, sliding_window),
                                   heads.attend_in_double(qkv, segments, sliding_window)),
                    type == at::kHalf ? 2e-3 : 1.6e-2)
              << segments.all.size() << " segments, sliding window " << sliding_window;
      }
    }
  }
}

// A tree alone has other longest segments and paths than among others.
TEST_F(GpuSegments, GiveATreeTheSameBitsWhateverIsBesideIt) {
  const SegmentHeads heads{8, 2, 128};
  const std::vector<TokenTree> trees = {tree_of({{-1, 37}, {0, 5}, {0, 9}}),
                                        tree_of({{-1, 1}, {0, 1}}),
                                        tree_of({{-1, 600}, {0, 70}, {0, 49}})};
  const Segments together = segments_of(trees, at::kCUDA);
  const at::Tensor qkv = heads.random(together.rows(), options());
  for (const int64_t sliding_window : {0, 100}) {
    const at::Tensor found = heads.attend(qkv, together, sliding_window);
    EXPECT_TRUE(at::equal(heads.attend(qkv, together, sliding_window), found));
    int64_t first = 0;
    for (const TokenTree& tree : trees) {
      const int64_t rows = tree.tokens();
      const at::Tensor alone =
          heads.attend(qkv.narrow(0, first, rows), segments_of({tree}, at::kCUDA), sliding_window);
      EXPECT_TRUE(at::equal(alone, found.narrow(0, first, rows))) << rows << " rows";
      first += rows;
    }
  }
}

TEST_F(GpuSegments, OfADecoderLayerAreNearWholeWindows) {
  ModelConfig model = fixture::small_model();
  model.head_dim = 128;
  model.hidden = 512;
  model.kv_heads = 2;
  OneLayer layer(model, at::Device(at::kCUDA, 0));
  const at::Tensor hidden = layer.random_input();
  const LayerResult whole = layer.run(hidden, 0, kLength);
  const std::vector<TokenTree> trees(kWindows, tree_of({{-1, 10}, {0, kLength - 10}}));
  const LayerResult found = layer.run_segments(hidden.flatten(0, 1), segments_of(trees, at::kCUDA));
  EXPECT_LT(relative_error(found.hidden.view(whole.hidden.sizes()), whole.hidden), 1e-2);
}

}  // namespace
}  // namespace kvcalib
