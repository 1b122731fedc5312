// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/deployed_config.h"

#include <gtest/gtest.h>

#include "calibrate/runtimes/turbomind/config_patch.h"
#include "calibrate/runtimes/turbomind/rotation.h"
#include "calibrate/runtimes/turbomind/rules.h"
#include "sharding/files/error.h"
#include "sharding/formats/turbomind_directory.h"
#include "tests/message_of.h"

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

std::string config_of(const ModelConfig& config, const std::string& release,
                      const std::string& name = "vicuna") {
  return deployed_config(config, find_turbomind_release(release), {name, 2, config.vocab, 1, 2});
}

bool has(const std::string& text, const std::string& line) {
  return text.find("\n" + line + "\n") != std::string::npos;
}

TEST(TurboMindConfig, FirstReleaseHasTheFewestKeys) {
  EXPECT_EQ(config_of(model(), "0.0.2"),
            "[llama]\nmodel_name = vicuna\nhead_num = 8\nkv_head_num = 4\nsize_per_head = 128\n"
            "vocab_size = 321\nnum_layer = 4\nrotary_embedding = 128\ninter_size = 96\n"
            "norm_eps = 1e-05\nattn_bias = 0\nstart_id = 1\nend_id = 2\nweight_type = fp16\n"
            "max_batch_size = 32\nmax_context_token_num = 4\nsession_len = 2056\n"
            "step_length = 1\ncache_max_entry_count = 48\ncache_chunk_size = 1\n"
            "use_context_fmha = 1\nquant_policy = 0\ntensor_para_size = 2\n\n");
}

TEST(TurboMindConfig, KeysComeAndGoWithTheReleases) {
  const auto at = [](int minor, int patch) {
    return config_of(model(), concat("0.", minor, '.', patch));
  };
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
  EXPECT_TRUE(has(config_of(model(), "0.3.0", "llama2"), "session_len = 4104"));
  EXPECT_TRUE(has(config_of(model(), "0.3.0", "internlm-chat-20b"), "session_len = 8200"));
}

TEST(TurboMindConfig, ScalingGoesIntoTheKeysThatTheReleaseHas) {
  ModelConfig config = model();
  config.own_rotation = RopeScaling{.kind = RopeScaling::Kind::kDynamic, .factor = 2.5};
  EXPECT_TRUE(has(config_of(config, "0.0.12"), "use_dynamic_ntk = 1"));
  EXPECT_TRUE(has(config_of(config, "0.2.6"), "rope_scaling_factor = 2.5"));
  EXPECT_TRUE(has(config_of(config, "0.3.0"), "rope_scaling_factor = 2.5"));
  EXPECT_TRUE(has(config_of(config, "0.3.0"), "use_dynamic_ntk = 1"));
  config.own_rotation->kind = RopeScaling::Kind::kLinear;
  EXPECT_TRUE(has(config_of(config, "0.3.0"), "use_dynamic_ntk = 0"));
}

TEST(TurboMindConfig, BFloat16IsKnownSinceV010) {
  ModelConfig config = model();
  config.weight_type = WeightType::kBFloat16;
  EXPECT_TRUE(has(config_of(config, "0.0.14"), "weight_type = fp16"));
  EXPECT_TRUE(has(config_of(config, "0.1.0"), "weight_type = bf16"));
}

TEST(TurboMindConfig, TablesArePaddedToTheNextMultipleWhereAReleaseDoesThat) {
  for (const TurboMindRelease& release : turbomind_releases()) {
    for (int64_t ranks = 1; ranks <= 8; ++ranks) {
      for (const int64_t rows : {1, 321, 324, 65632}) {
        const int64_t deployed = deployed_rows(rows, release, ranks);
        if (!release.pads_rows) {
          EXPECT_EQ(deployed, rows);
          continue;
        }
        EXPECT_EQ(deployed % ranks, 0);
        EXPECT_TRUE(rows <= deployed && deployed < rows + ranks);
      }
    }
  }
}

// What is written is what the program itself would read, and the release then rotates as the model
// does wherever it has the keys to.
TEST(TurboMindConfig, DescribesTheModelThatItIsOf) {
  ModelConfig config = model();
  config.rope_theta = 5e5;
  config.attention_bias = true;
  config.weight_type = WeightType::kBFloat16;
  for (const auto kind : {RopeScaling::Kind::kNone, RopeScaling::Kind::kLinear,
                          RopeScaling::Kind::kDynamic, RopeScaling::Kind::kQwen}) {
    config.own_rotation = RopeScaling{.kind = kind, .factor = 2.5, .original_positions = 2048};
    for (const TurboMindRelease& release : turbomind_releases()) {
      const ModelConfig read =
          read_model_config(IniFile::parse(config_of(config, release.name()), "config.ini"));
      const ModelConfig converted = as_converted(config, release);
      EXPECT_EQ(read.heads, config.heads);
      EXPECT_EQ(read.kv_heads, config.kv_heads);
      EXPECT_EQ(read.intermediate, config.intermediate);
      EXPECT_EQ(read.vocab, config.vocab);
      EXPECT_EQ(read.stored_ranks, 2);
      EXPECT_EQ(read.norm_eps, config.norm_eps);
      EXPECT_EQ(read.attention_bias, config.attention_bias);
      EXPECT_EQ(read.weight_type, deployed_type(config, release));
      EXPECT_EQ(read.rope_theta, release.reads_rope_theta ? 5e5 : 10000.0);
      for (const int64_t length : {16, 2048, 4096}) {
        if (!release.reads_rope_theta) continue;
        EXPECT_EQ(rotation_on(release, read, length), rotation_on(release, converted, length))
            << release.name() << " " << length;
      }
    }
  }
}

// What shard writes calibrate, export and verify accept, for every release and template.
TEST(TurboMindConfig, HasNoFaultForThoseWhoReadItOnceItIsPatched) {
  for (const TurboMindRelease& release : turbomind_releases()) {
    for (const WeightType type : {WeightType::kFloat16, WeightType::kBFloat16}) {
      for (const char* const name : {"vicuna", "llama2", "internlm-chat-20b", "internlm2"}) {
        ModelConfig config = model();
        config.own_rotation.emplace();
        config.weight_type = type;
        ASSERT_TRUE(deploy_faults(config, release, 1).empty());
        const std::string text = deployed_config(config, release, {name, 1, config.vocab, 1, 2});
        const IniFile patched = patch_config(IniFile::parse(text, "config.ini"), release);
        EXPECT_TRUE(config_faults(patched, release).empty()) << release.name() << " " << name;
        const ModelConfig read = read_model_config(patched);
        const RuntimeFindings found = findings_in_config(
            {.config = read, .ranks = 1, .embedding_rows = deployed_rows(config.vocab, release, 1)},
            release);
        const bool loses_int8 =  // as shard then warns
            read.weight_type == WeightType::kBFloat16 && !release.int8_beside_bfloat16;
        ASSERT_EQ(found.faults.size(), loses_int8 ? 1u : 0u) << release.name() << " " << name;
        if (loses_int8) {
          EXPECT_HOLDS("ignores int8 KV for bf16 models", found.faults[0]);
        }
      }
    }
  }
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
