// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/model_config_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "sharding/files/error.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

using nlohmann::json;

// Every field is another than that of a ModelConfig that was told nothing.
ModelConfig example() {
  ModelConfig model;
  int64_t number = 2;
  for (int64_t* const field :
       {&model.layers, &model.hidden, &model.heads, &model.kv_heads, &model.head_dim,
        &model.intermediate, &model.vocab, &model.stored_ranks, &model.sliding_window,
        &model.max_position_embeddings, &model.session_length})
    *field = number++;
  for (bool* const field : {&model.attention_bias, &model.mlp_bias, &model.query_key_norm,
                            &model.use_dynamic_ntk, &model.use_logn_attention})
    *field = true;
  for (double* const field : {&model.norm_eps, &model.rope_theta, &model.rope_scaling_factor})
    *field = 0.1 * static_cast<double>(number++);
  model.weight_type = WeightType::kBFloat16;
  model.own_rotation = RopeScaling{RopeScaling::Kind::kLlama3, 8.0, 0.5, 2.0, 4096};
  return model;
}

TEST(ModelConfigJson, ReadsBackEveryField) {
  const json written = example();
  EXPECT_EQ(json(written.get<ModelConfig>()), written);
  const json untold = ModelConfig();
  for (const auto& [key, value] : untold.items())
    EXPECT_NE(written.at(key), value) << key << " is not told apart";
}

TEST(ModelConfigJson, LeavesOutWhatOnlySomeModelsHave) {
  const json untold = ModelConfig();
  for (const char* key : {"mlp_bias", "query_key_norm", "sliding_window", "own_rotation"}) {
    EXPECT_FALSE(untold.contains(key)) << key;
    json without = example();
    ASSERT_EQ(without.erase(key), 1U) << key;
    EXPECT_EQ(json(without.get<ModelConfig>()), without) << key;
  }
}

TEST(ModelConfigJson, NamesWhatIsMissing) {
  const json whole = ModelConfig();
  for (const auto& [key, value] : whole.items()) {
    json without = whole;
    without.erase(key);
    try {
      without.get<ModelConfig>();
      FAIL() << key << " was not missed";
    } catch (const json::exception& failure) {
      EXPECT_HOLDS("key '" + key + "' not found", failure.what());
    }
  }
}

TEST(ModelConfigJson, RefusesAScalingThatIsNotKnown) {
  json model = example();
  for (const int kind : {-1, 5}) {
    model["own_rotation"]["kind"] = kind;
    EXPECT_HOLDS(concat("own_rotation: kind ", kind, " is unknown"),
                 message_of([&] { model.get<ModelConfig>(); }));
  }
}

TEST(ModelConfigJson, HasTheKeysOfTheDimensions) {
  const json model = example();
  for (const char* key : kDimensionKeys) EXPECT_TRUE(model.at(key).is_number_integer()) << key;
}

}  // namespace
}  // namespace kvcalib
