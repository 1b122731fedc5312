// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/deployed_config.h"

#include <gtest/gtest.h>

namespace kvcalib {
namespace {

ModelConfig model() {
  ModelConfig config;
  config.layers = 4;
  config.heads = 8;
  config.kv_heads = 4;
  config.head_dim = 128;
  config.hidden = 1024;
  config.intermediate = 96;
  config.vocab = 321;
  config.norm_eps = 1e-5;
  config.max_position_embeddings = 2048;
  return config;
}

std::string config_of(const ModelConfig& config, const RuntimeRelease& release,
                      const std::string& name = "vicuna") {
  return deployed_config(config, release, {name, 2, config.vocab, 1, 2});
}

bool has(const std::string& text, const std::string& line) {
  return text.find("\n" + line + "\n") != std::string::npos;
}

TEST(TurboMindConfig, FirstReleaseHasTheFewestKeys) {
  EXPECT_EQ(config_of(model(), {0, 0, 2}),
            "[llama]\nmodel_name = vicuna\nhead_num = 8\nkv_head_num = 4\nsize_per_head = 128\n"
            "vocab_size = 321\nnum_layer = 4\nrotary_embedding = 128\ninter_size = 96\n"
            "norm_eps = 1e-05\nattn_bias = 0\nstart_id = 1\nend_id = 2\nweight_type = fp16\n"
            "max_batch_size = 32\nmax_context_token_num = 4\nsession_len = 2056\n"
            "step_length = 1\ncache_max_entry_count = 48\ncache_chunk_size = 1\n"
            "use_context_fmha = 1\nquant_policy = 0\ntensor_para_size = 2\n\n");
}

TEST(TurboMindConfig, KeysComeAndGoWithTheReleases) {
  const auto at = [](int minor, int patch) { return config_of(model(), {0, minor, patch}); };
  EXPECT_FALSE(has(at(0, 3), "group_size = 0"));
  EXPECT_TRUE(has(at(0, 4), "group_size = 0"));
  EXPECT_FALSE(has(at(0, 5), "use_dynamic_ntk = 0"));
  EXPECT_TRUE(has(at(0, 6), "use_dynamic_ntk = 0"));
  EXPECT_FALSE(has(at(0, 7), "rope_theta = 10000.0"));
  EXPECT_TRUE(has(at(0, 8), "rope_theta = 10000.0"));
  EXPECT_TRUE(has(at(0, 14), "cache_max_entry_count = 48"));
  EXPECT_TRUE(has(at(0, 14), "use_dynamic_ntk = 0"));
  EXPECT_TRUE(has(at(1, 0), "cache_max_entry_count = 0.5"));
  EXPECT_TRUE(has(at(1, 0), "rope_scaling_factor = 0.0"));
  EXPECT_FALSE(has(at(1, 0), "use_dynamic_ntk = 0"));
  EXPECT_TRUE(has(at(2, 1), "cache_max_entry_count = 0.5"));
  EXPECT_TRUE(has(at(2, 2), "cache_max_entry_count = 0.8"));
  EXPECT_TRUE(has(at(2, 6), "cache_block_seq_len = 128"));
  EXPECT_TRUE(has(at(3, 0), "cache_block_seq_len = 64"));
  EXPECT_TRUE(has(at(3, 0), "use_dynamic_ntk = 0"));
}

TEST(TurboMindConfig, SessionsAreAsLongAsTheTemplateSays) {
  EXPECT_TRUE(has(config_of(model(), {0, 3, 0}, "llama2"), "session_len = 4104"));
  EXPECT_TRUE(has(config_of(model(), {0, 3, 0}, "internlm-chat-20b"), "session_len = 8200"));
}

TEST(TurboMindConfig, ScalingGoesIntoTheKeysThatTheReleaseHas) {
  ModelConfig config = model();
  config.own_rotation = RopeScaling{.kind = RopeScaling::Kind::kDynamic, .factor = 2.5};
  EXPECT_TRUE(has(config_of(config, {0, 0, 12}), "use_dynamic_ntk = 1"));
  EXPECT_TRUE(has(config_of(config, {0, 2, 6}), "rope_scaling_factor = 2.5"));
  EXPECT_TRUE(has(config_of(config, {0, 3, 0}), "rope_scaling_factor = 2.5"));
  EXPECT_TRUE(has(config_of(config, {0, 3, 0}), "use_dynamic_ntk = 1"));
  config.own_rotation->kind = RopeScaling::Kind::kLinear;
  EXPECT_TRUE(has(config_of(config, {0, 3, 0}), "use_dynamic_ntk = 0"));
  EXPECT_FALSE(deploy_faults(config, {0, 2, 6}, 2).empty());
  EXPECT_TRUE(deploy_faults(config, {0, 3, 0}, 2).empty());
}

TEST(TurboMindConfig, BFloat16IsKnownSinceV010) {
  ModelConfig config = model();
  config.weight_type = WeightType::kBFloat16;
  EXPECT_TRUE(has(config_of(config, {0, 0, 14}), "weight_type = fp16"));
  EXPECT_TRUE(has(config_of(config, {0, 1, 0}), "weight_type = bf16"));
}

TEST(TurboMindConfig, TablesArePaddedSinceV006) {
  EXPECT_EQ(deployed_rows(321, {0, 0, 5}, 4), 321);
  EXPECT_EQ(deployed_rows(321, {0, 0, 6}, 4), 324);
  EXPECT_EQ(deployed_rows(324, {0, 3, 0}, 4), 324);
}

TEST(TurboMindConfig, RanksThatDoNotDivideAreToldWithThoseThatDo) {
  const std::vector<std::string> faults = deploy_faults(model(), {0, 3, 0}, 8);
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults[0], "--tp 8: does not divide 4 kv heads; possible are 1, 2, 4");
}

TEST(TurboMindConfig, NumbersAreWrittenAsPythonPrintsThem) {
  EXPECT_EQ(python_float(10000), "10000.0");
  EXPECT_EQ(python_float(1e6), "1000000.0");
  EXPECT_EQ(python_float(0), "0.0");
  EXPECT_EQ(python_float(2.5), "2.5");
  EXPECT_EQ(python_float(1e-4), "0.0001");
  EXPECT_EQ(python_float(1e-5), "1e-05");
  EXPECT_EQ(python_float(1e-6), "1e-06");
  EXPECT_EQ(python_float(1e16), "1e+16");
  EXPECT_EQ(python_float(123456789012345.0), "123456789012345.0");
}

}  // namespace
}  // namespace kvcalib
