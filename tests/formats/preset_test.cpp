// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/preset.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

const nlohmann::json kPreset = {
    {"layers", 2},           {"hidden", 40},           {"heads", 4},
    {"kv_heads", 2},         {"head_dim", 16},         {"intermediate", 96},
    {"vocab", 50},           {"norm_eps", 1e-5},       {"rope_theta", 1e6},
    {"weight_type", "bf16"}, {"attention_bias", true}, {"max_position_embeddings", 128},
    {"tensor_para_size", 2}};

ModelConfig read(const nlohmann::json& changes) {
  const fixture::TemporaryFolder folder;
  nlohmann::json preset = kPreset;
  preset.merge_patch(changes);
  fixture::write_file(folder.path() / "preset.json", preset.dump());
  return read_preset(folder.path() / "preset.json");
}

std::string refusal(const nlohmann::json& changes) {
  return message_of([&] { read(changes); });
}

TEST(Preset, ReadsAShapeWhoseHeadsAreNotItsWidth) {
  const ModelConfig config = read(nlohmann::json::object());
  EXPECT_EQ(config.hidden, 40);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.weight_type, WeightType::kBFloat16);
  EXPECT_FALSE(config.query_key_norm);
  EXPECT_EQ(config.sliding_window, 0);
}

TEST(Preset, ReadsQueryKeyNormAndSlidingWindow) {
  const ModelConfig config = read({{"query_key_norm", true}, {"sliding_window", 64}});
  EXPECT_TRUE(config.query_key_norm);
  EXPECT_EQ(config.sliding_window, 64);
}

TEST(Preset, RefusesAShapeThatNoModelHas) {
  EXPECT_HOLDS("preset.json: layers = 0, expected a whole number from 1", refusal({{"layers", 0}}));
  EXPECT_HOLDS("layers = 1.5, expected a whole number", refusal({{"layers", 1.5}}));
  EXPECT_HOLDS("hidden = 4611686018427387904, expected", refusal({{"hidden", int64_t{1} << 62}}));
  EXPECT_HOLDS("tensor_para_size = 0, expected", refusal({{"tensor_para_size", 0}}));
  EXPECT_HOLDS("norm_eps = -1e-06, expected > 0", refusal({{"norm_eps", -1e-6}}));
  EXPECT_HOLDS("make a model of", refusal({{"hidden", 1 << 30}, {"intermediate", 1 << 30}}));
  EXPECT_HOLDS("heads = 4 is not divisible by kv_heads = 3", refusal({{"kv_heads", 3}}));
  EXPECT_HOLDS("head_dim = 15, expected an even number", refusal({{"head_dim", 15}}));
  EXPECT_HOLDS("vocab is missing; expected a preset", refusal({{"vocab", nullptr}}));
  EXPECT_HOLDS("weight_type is 'fp8'", refusal({{"weight_type", "fp8"}}));
}

TEST(Preset, ReadsAllThatAreInConfigs) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("configs")) {
    if (entry.path().extension() != ".json") continue;
    EXPECT_NO_THROW(read_preset(entry.path())) << entry.path();
    ++count;
  }
  EXPECT_GE(count, 15);
}

}  // namespace
}  // namespace kvcalib
