// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/model_config_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <tuple>

#include "sharding/files/error.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

using nlohmann::json;

// Every field is another than that of a ModelConfig that was told nothing.
ModelConfig example() {
  ModelConfig model;
  model.layers = 3;
  model.hidden = 5;
  model.heads = 8;
  model.kv_heads = 4;
  model.head_dim = 6;
  model.intermediate = 10;
  model.vocab = 7;
  model.stored_ranks = 2;
  model.sliding_window = 9;
  model.max_position_embeddings = 11;
  model.session_length = 12;
  for (bool* const field : {&model.attention_bias, &model.mlp_bias, &model.query_key_norm,
                            &model.use_dynamic_ntk, &model.use_logn_attention})
    *field = true;
  model.norm_eps = 0.1;
  model.rope_theta = 0.2;
  model.rope_scaling_factor = 0.3;
  model.weight_type = WeightType::kBFloat16;
  model.own_rotation = RopeScaling{RopeScaling::Kind::kLlama3, 8.0, 0.5, 2.0, 4096};
  return model;
}

ModelConfig read(const json& model) { return read_model(JsonObject::parse(model.dump(), "file")); }

std::string refusal(const json& model) {
  return message_of([&] { read(model); });
}

TEST(ModelConfigJson, ReadsBackEveryField) {
  const json written = example();
  EXPECT_EQ(json(read(written)), written);
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
    EXPECT_EQ(json(read(without)), without) << key;
  }
}

TEST(ModelConfigJson, NamesWhatIsMissing) {
  const json untold = ModelConfig();
  for (const auto& [key, value] : untold.items()) {
    json without = example();
    without.erase(key);
    EXPECT_HOLDS("file: " + key + " is missing", refusal(without));
  }
}

TEST(ModelConfigJson, RefusesWhatIsOfAnotherType) {
  const std::tuple<const char*, json, const char*> cases[] = {
      {"layers", 1.5, "file: layers = 1.5, expected a whole number of 64 bits"},
      {"layers", uint64_t{1} << 63, "layers = 9223372036854775808, expected a whole number"},
      {"layers", int64_t{1} << 62, "layers = 4611686018427387904, expected a whole number from 1"},
      {"norm_eps", "1e-5", "norm_eps = \"1e-5\", expected a number"},
      {"attention_bias", 1, "attention_bias = 1, expected true or false"},
      {"weight_type", "fp16", "weight_type = fp16, expected float16 or bfloat16"}};
  for (const auto& [key, value, expected] : cases) {
    json model = example();
    model[key] = value;
    EXPECT_HOLDS(expected, refusal(model));
  }
}

TEST(ModelConfigJson, RefusesAScalingThatIsNotKnown) {
  json model = example();
  for (const int64_t kind : {int64_t{-1}, int64_t{5}, int64_t{1} << 32}) {
    model["own_rotation"]["kind"] = kind;
    EXPECT_HOLDS(concat("own_rotation: kind ", kind, " is unknown"), refusal(model));
  }
}

TEST(ModelConfigJson, HasTheKeysOfTheDimensions) {
  const json model = example();
  for (const char* key : kDimensionKeys) EXPECT_TRUE(model.at(key).is_number_integer()) << key;
}

}  // namespace
}  // namespace kvcalib
