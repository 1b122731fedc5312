// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/decoder_layer.h"

#include <gtest/gtest.h>

#include "sharding/streaming/device.h"
#include "tests/engine/one_layer.h"

namespace kvcalib {
namespace {

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  const at::Tensor exact = expected.to(at::kDouble);
  return ((found.to(at::kDouble) - exact).norm() / exact.norm()).item<double>();
}

TEST(GpuDecoderLayer, GivesTokensBehindEarlierKeysWhatTheWholeWindowHas) {
  if (gpu_count() == 0) GTEST_SKIP() << "no GPU is visible";
  at::manual_seed(9);
  for (const int64_t sliding_window : {0, 9}) {
    ModelConfig model = fixture::small_model();
    model.head_dim = 128;
    model.hidden = 512;
    model.kv_heads = 2;
    model.sliding_window = sliding_window;
    OneLayer layer(model, at::Device(at::kCUDA, 0));
    const at::Tensor hidden = layer.random_input();
    const LayerResult whole = layer.run(hidden, 0, kLength);
    for (const int64_t cut : {1, 10, 23}) {
      const LayerResult first = layer.run(hidden, 0, cut);
      const LayerResult second = layer.run(hidden, cut, kLength, first);
      EXPECT_LT(relative_error(at::cat({first.hidden, second.hidden}, 1), whole.hidden), 1e-2);
      EXPECT_LT(relative_error(at::cat({first.keys, second.keys}, 1), whole.keys), 1e-3);
      EXPECT_FALSE(at::equal(layer.run(hidden, cut, kLength).hidden, second.hidden));
    }
  }
}

}  // namespace
}  // namespace kvcalib
