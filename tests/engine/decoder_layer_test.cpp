// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/decoder_layer.h"

#include <gtest/gtest.h>

#include "tests/engine/one_layer.h"

namespace kvcalib {
namespace {

using fixture::small_model;

std::vector<ModelConfig> models() {
  ModelConfig grouped = small_model(), sliding = small_model(), normed = small_model();
  grouped.kv_heads = 2;
  grouped.attention_bias = true;
  sliding.sliding_window = 9;
  normed.query_key_norm = true;
  return {small_model(), grouped, sliding, normed};
}

TEST(DecoderLayer, GivesTokensBehindEarlierKeysTheBitsOfTheWholeWindow) {
  at::manual_seed(9);
  for (const ModelConfig& model : models()) {
    OneLayer layer(model);
    const at::Tensor hidden = layer.random_input();
    const LayerResult whole = layer.run(hidden, 0, kLength);
    for (const int64_t cut : {1, 10, 23}) {
      const LayerResult first = layer.run(hidden, 0, cut);
      const LayerResult second = layer.run(hidden, cut, kLength, first);
      EXPECT_TRUE(at::equal(at::cat({first.hidden, second.hidden}, 1), whole.hidden));
      EXPECT_TRUE(at::equal(at::cat({first.keys, second.keys}, 1), whole.keys));
      EXPECT_TRUE(at::equal(at::cat({first.values, second.values}, 1), whole.values));
      EXPECT_FALSE(at::equal(layer.run(hidden, cut, kLength).hidden, second.hidden));
    }
  }
}

}  // namespace
}  // namespace kvcalib
