// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/model_difference.h"

#include <gtest/gtest.h>

#include <functional>

namespace kvcalib {
namespace {

std::string found_by(const std::function<void(ModelConfig&)>& change, int64_t length = 128) {
  ModelConfig changed;
  change(changed);
  const std::optional<ModelDifference> found = find_difference({}, changed, length);
  return found ? found->name + ": " + found->first + ", " + found->second : "";
}

TEST(ModelDifference, NamesTheValueThatDiffersAndNoOther) {
  EXPECT_EQ(found_by([](ModelConfig& model) { model.norm_eps = 1.2345678e-6; }),
            "norm_eps: 1e-06, 1.2345678e-06");
  EXPECT_EQ(found_by([](ModelConfig& model) { model.attention_bias = true; }),
            "attention_bias: false, true");
  EXPECT_EQ(found_by([](ModelConfig& model) { model.mlp_bias = true; }), "mlp_bias: false, true");
  EXPECT_EQ(found_by([](ModelConfig& model) { model.query_key_norm = true; }),
            "query_key_norm: false, true");
  EXPECT_EQ(found_by([](ModelConfig& model) { model.sliding_window = 32; }),
            "sliding_window: 0, 32");
}

TEST(ModelDifference, IsNoneInWhatChangesNoKeyAndNoValue) {
  EXPECT_EQ(found_by([](ModelConfig&) {}), "");
  EXPECT_EQ(found_by([](ModelConfig& model) { model.session_length = 4096; }), "");
  EXPECT_EQ(found_by([](ModelConfig& model) { model.sliding_window = 128; }, 128), "");
}

}  // namespace
}  // namespace kvcalib
